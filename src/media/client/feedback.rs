//! Transport-wide congestion control feedback: which packets arrived and when
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).
//!
//! Without it the other side's estimate never rises. Keeps at most [`WINDOW`] arrivals; what a sender numbers wildly
//! restarts the record.

use rtc_rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, RecvDelta, RunLengthChunk, StatusChunkTypeTcc, StatusVectorChunk, SymbolSizeTypeTcc, SymbolTypeTcc, TransportLayerCc,
};
use std::time::Instant;

/// Packets one report covers at most: 100 ms at 5,000 packets a second.
const WINDOW: u16 = 512;
/// A tick of the deltas in microseconds (section 3.1.5).
const TICK_US: i64 = 250;
/// A tick of the reference time in microseconds (section 3.1).
const REFERENCE_US: i64 = 64_000;
/// Statuses in a two-bit vector chunk (section 3.1.4).
const VECTOR: usize = 7;

/// The arrivals since the last report.
pub(super) struct Arrivals {
    epoch: Instant,
    /// The number after the last one reported.
    base: Option<u16>,
    /// Microseconds since `epoch` of the packet `base + place`.
    times: Vec<Option<i64>>,
    reports: u8,
}

impl Arrivals {
    /// Nothing yet. `epoch` is the zero of the reference times.
    pub(super) fn new(epoch: Instant) -> Self {
        Self { epoch, base: None, times: Vec::new(), reports: 0 }
    }

    /// Notes the arrival of the packet with this transport-wide number.
    pub(super) fn note(&mut self, number: u16, now: Instant) {
        let at = i64::try_from(now.saturating_duration_since(self.epoch).as_micros()).unwrap_or(i64::MAX);
        let base = *self.base.get_or_insert(number);
        let place = number.wrapping_sub(base);
        if place >= u16::MAX - WINDOW {
            return; // Late: it was reported as missing.
        }
        if place >= WINDOW {
            self.base = Some(number);
            self.times.clear();
            self.times.push(Some(at));
            return;
        }
        let place = usize::from(place);
        if self.times.len() <= place {
            self.times.resize(place + 1, None);
        }
        self.times[place].get_or_insert(at);
    }

    /// The report on what arrived since the last one; none if nothing did.
    pub(super) fn report(&mut self, sender_ssrc: u32, media_ssrc: u32) -> Option<TransportLayerCc> {
        let base = self.base?;
        let first = self.times.iter().find_map(|time| *time)?;
        let reference = first / REFERENCE_US;
        let mut last = reference * REFERENCE_US / TICK_US;
        let mut symbols = Vec::with_capacity(self.times.len());
        let mut deltas = Vec::with_capacity(self.times.len());
        for time in &self.times {
            let Some(time) = time else {
                symbols.push(SymbolTypeTcc::PacketNotReceived);
                continue;
            };
            let tick = time / TICK_US;
            let delta = tick - last;
            let symbol = match delta {
                0..=255 => SymbolTypeTcc::PacketReceivedSmallDelta,
                -32_768..=32_767 => SymbolTypeTcc::PacketReceivedLargeDelta,
                // Eight seconds apart: the packet is told of as missing rather than with a wrong time.
                _ => {
                    symbols.push(SymbolTypeTcc::PacketNotReceived);
                    continue;
                }
            };
            last = tick;
            symbols.push(symbol);
            deltas.push(RecvDelta { type_tcc_packet: symbol, delta: delta * TICK_US });
        }
        let count = symbols.len() as u16; // At most WINDOW.
        self.base = Some(base.wrapping_add(count));
        self.times.clear();
        self.reports = self.reports.wrapping_add(1);
        Some(TransportLayerCc {
            sender_ssrc,
            media_ssrc,
            base_sequence_number: base,
            packet_status_count: count,
            reference_time: (reference & 0x00FF_FFFF) as u32, // 24 bits that wrap (section 3.1).
            fb_pkt_count: self.reports.wrapping_sub(1),
            packet_chunks: chunks(&symbols),
            recv_deltas: deltas,
        })
    }
}

/// Runs where seven or more are alike, vectors of seven elsewhere.
fn chunks(symbols: &[SymbolTypeTcc]) -> Vec<PacketStatusChunk> {
    let mut chunks = Vec::new();
    let mut rest = symbols;
    while let Some(&symbol) = rest.first() {
        let run = rest.iter().take_while(|&&other| other == symbol).count();
        let taken = if run >= VECTOR || run == rest.len() {
            chunks.push(PacketStatusChunk::RunLengthChunk(RunLengthChunk {
                type_tcc: StatusChunkTypeTcc::RunLengthChunk,
                packet_status_symbol: symbol,
                run_length: run as u16, // At most WINDOW.
            }));
            run
        } else {
            let taken = rest.len().min(VECTOR);
            let mut symbol_list = rest[..taken].to_vec();
            symbol_list.resize(VECTOR, SymbolTypeTcc::PacketNotReceived);
            chunks.push(PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
                type_tcc: StatusChunkTypeTcc::StatusVectorChunk,
                symbol_size: SymbolSizeTypeTcc::TwoBit,
                symbol_list,
            }));
            taken
        };
        rest = &rest[taken..];
    }
    chunks
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "an instant to count from")]
mod tests {
    use super::*;
    use rtc_shared::marshal::{Marshal, Unmarshal};
    use std::time::Duration;

    /// Reads the bytes of a report back into (number, microseconds since the epoch) of what arrived.
    fn arrived(report: &TransportLayerCc) -> Vec<(u16, i64)> {
        let bytes = report.marshal().expect("own report");
        let read = TransportLayerCc::unmarshal(&mut bytes.clone()).expect("readable");
        let mut symbols = Vec::new();
        for chunk in &read.packet_chunks {
            match chunk {
                PacketStatusChunk::RunLengthChunk(run) => symbols.extend(vec![run.packet_status_symbol; usize::from(run.run_length)]),
                PacketStatusChunk::StatusVectorChunk(vector) => symbols.extend(vector.symbol_list.iter().copied()),
            }
        }
        symbols.truncate(usize::from(read.packet_status_count));
        assert_eq!(symbols.len(), usize::from(read.packet_status_count));
        let mut deltas = read.recv_deltas.iter();
        let mut time = i64::from(read.reference_time) * REFERENCE_US;
        let mut found = Vec::new();
        for (place, symbol) in symbols.iter().enumerate() {
            if *symbol != SymbolTypeTcc::PacketNotReceived {
                time += deltas.next().expect("a delta for each arrival").delta;
                found.push((read.base_sequence_number.wrapping_add(place as u16), time));
            }
        }
        assert!(deltas.next().is_none());
        found
    }

    #[test]
    fn what_arrived_is_read_back_with_its_times() {
        let epoch = Instant::now();
        let mut arrivals = Arrivals::new(epoch);
        // Out of order over the wrap, with gaps and with a step of more than 63.75 ms.
        let notes = [(65_534, 1000), (65_535, 1250), (1, 3000), (0, 2500), (9, 200_000), (10, 200_250), (40, 201_000)];
        for (number, us) in notes {
            arrivals.note(number, epoch + Duration::from_micros(us));
        }
        let report = arrivals.report(1, 2).expect("arrivals");
        let expected: Vec<(u16, i64)> =
            [(65_534, 1000), (65_535, 1250), (0, 2500), (1, 3000), (9, 200_000), (10, 200_250), (40, 201_000)].to_vec();
        assert_eq!(arrived(&report), expected);
        assert!(arrivals.report(1, 2).is_none(), "told once");

        arrivals.note(41, epoch + Duration::from_micros(300_000));
        let next = arrivals.report(1, 2).expect("one more");
        assert_eq!((next.base_sequence_number, next.fb_pkt_count, arrived(&next)), (41, 1, vec![(41, 300_000)]));
    }

    #[test]
    fn a_wild_number_restarts_the_record() {
        let epoch = Instant::now();
        let mut arrivals = Arrivals::new(epoch);
        arrivals.note(5, epoch);
        arrivals.note(30_000, epoch + Duration::from_millis(64));
        arrivals.note(29_999, epoch + Duration::from_millis(65));
        assert_eq!(arrived(&arrivals.report(1, 2).expect("arrivals")), [(30_000, 64_000)]);
    }
}
