//! A page's association (RFC 9260) inside its DTLS connection, by hand: packets no library would send.

use crate::look_until;
use crate::page::Page;

/// What the page calls itself, and its first transmission number.
const TAG: u32 = 77;
const FIRST: u32 = 1_000;
pub(crate) const BEGINS: u8 = 2;
pub(crate) const ENDS: u8 = 1;
pub(crate) const UNORDERED: u8 = 4;

/// An association with the server.
pub(crate) struct Association {
    tag: u32,
    next: u32,
}

impl Association {
    /// By INIT and COOKIE ECHO.
    pub(crate) fn open(page: &Page) -> Self {
        let init = [&TAG.to_be_bytes()[..], &0x0001_0000_u32.to_be_bytes(), &[0xFF; 4], &FIRST.to_be_bytes()].concat();
        let ack = ask(page, &packet(0, &chunk(1, 0, &init)), 2);
        let tag = u32::from_be_bytes(ack[16..20].try_into().unwrap());
        // The state cookie, parameter 7.
        let mut parameters = &ack[32..];
        let len = |parameters: &[u8]| usize::from(u16::from_be_bytes([parameters[2], parameters[3]]));
        while parameters[..2] != [0, 7] {
            parameters = &parameters[len(parameters).next_multiple_of(4)..];
        }
        ask(page, &packet(tag, &chunk(10, 0, &parameters[4..len(parameters)])), 11);
        Self { tag, next: FIRST }
    }

    /// A packet of these chunks.
    pub(crate) fn packet(&self, chunks: &[u8]) -> Vec<u8> {
        packet(self.tag, chunks)
    }

    /// A DATA chunk of one octet, so far ahead.
    pub(crate) fn data(&self, ahead: u32, flags: u8, stream: u16, number: u16) -> Vec<u8> {
        let at = self.next.wrapping_add(ahead).to_be_bytes();
        chunk(0, flags, &[&at[..], &stream.to_be_bytes(), &number.to_be_bytes(), &51_u32.to_be_bytes(), b"x"].concat())
    }

    /// A RE-CONFIG chunk that asks to reset stream 1 once what lies so far ahead has come.
    pub(crate) fn reset(&self, number: u32, ahead: u32) -> Vec<u8> {
        let last = self.next.wrapping_add(ahead).to_be_bytes();
        chunk(130, 0, &[&[0, 13, 0, 18][..], &number.to_be_bytes(), &[0; 4], &last, &[0, 1]].concat())
    }
}

/// Sends a packet until one that begins with a chunk of this kind comes back.
fn ask(page: &Page, packet: &[u8], kind: u8) -> Vec<u8> {
    let mut answer = None;
    look_until("an answer in the association", || {
        page.send(&page.record(packet));
        // A page repeats what was not answered; so often at the most.
        std::thread::sleep(std::time::Duration::from_millis(20));
        answer = page.records.lock().unwrap().drain(..).find(|record| record.get(12) == Some(&kind));
        answer.is_some()
    });
    answer.unwrap()
}

/// A chunk with its length, padded (RFC 9260 section 3.2).
pub(crate) fn chunk(kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut chunk = vec![kind, flags];
    chunk.extend((body.len() as u16 + 4).to_be_bytes());
    chunk.extend(body);
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

fn packet(tag: u32, chunks: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x13, 0x88, 0x13, 0x88];
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(chunks);
    // RFC 9260 appendix A.
    let step =
        |crc: u32, octet: &u8| (0..8).fold(crc ^ u32::from(*octet), |crc, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82F6_3B78 });
    let sum = !packet.iter().fold(!0, step);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
    packet
}
