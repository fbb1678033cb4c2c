//! Packets to frames.

use super::*;

fn gaps(told: &[Told]) -> Vec<(i64, Missing)> {
    told.iter().filter_map(|told| if let Told::Gap(ms, why) = told { Some((*ms, *why)) } else { None }).collect()
}

/// Frames lie 20 ms apart from `from` ms on.
fn are_in_step(told: &[Told], from: i64) -> bool {
    told.iter().enumerate().all(|(number, told)| told.ms() == from + 20 * number as i64)
}

/// What a decoder takes to find in.
const FIRST: [(i64, Missing); 4] = [(0, Missing::Lost), (20, Missing::Lost), (40, Missing::Lost), (60, Missing::Lost)];

#[test]
fn a_tone_is_heard_as_loud_as_it_is_in_every_mode_and_length() {
    let voip = |bitrate, bandwidth, length| Coding { bitrate, bandwidth: Some(bandwidth), length, ..USUAL };
    let fast = |length| Coding { application: Application::LowDelay, length, ..USUAL };
    let modes = [
        (Mode::Silk, 1, voip(12_000, Bandwidth::Narrowband, 960)),
        (Mode::Silk, 1, voip(16_000, Bandwidth::Wideband, 960)),
        (Mode::Silk, 1, voip(16_000, Bandwidth::Wideband, 480)),
        (Mode::Silk, 1, voip(16_000, Bandwidth::Wideband, 1_920)),
        (Mode::Silk, 1, voip(16_000, Bandwidth::Wideband, 2_880)),
        (Mode::Silk, 2, voip(16_000, Bandwidth::Wideband, 5_760)),
        (Mode::Hybrid, 1, voip(28_000, Bandwidth::Fullband, 960)),
        (Mode::Celt, 1, fast(120)),
        (Mode::Celt, 1, fast(240)),
        (Mode::Celt, 1, fast(480)),
        (Mode::Celt, 1, fast(960)),
        (Mode::Celt, 2, fast(1_920)),
        (Mode::Celt, 6, fast(5_760)),
        (Mode::Celt, 1, Coding { channels: Channels::Stereo, bitrate: 64_000, ..fast(960) }),
        (Mode::Silk, 1, Coding { channels: Channels::Stereo, ..voip(28_000, Bandwidth::Wideband, 960) }),
    ];
    for (number, (mode, frames, coding)) in modes.into_iter().enumerate() {
        let packets = sent(&coding, &sine(440.0, -20.0, 1_200));
        let shape = Shape::read(&packets[3].payload).expect("a packet");
        assert_eq!((shape.mode, shape.frames, shape.stereo), (mode, frames, coding.channels == Channels::Stereo), "{number}");
        let (told, counts) = listen(&packets, 0);
        assert_eq!(told.len(), 60, "{number}");
        assert!(are_in_step(&told, 0), "{number}: {told:?}");
        assert_eq!(gaps(&told), FIRST, "{number}");
        for told in &told[10..] {
            assert!(matches!(told, Told::Level(_, level) if (level + 20.0).abs() < 1.5), "{number}: {told:?}");
        }
        let stereo = if shape.stereo { counts.packets } else { 0 };
        assert_eq!((counts.stereo, counts.late, counts.malformed), (stereo, 0, 0), "{number}");
    }
}

#[test]
fn the_order_of_arrival_is_not_heard() {
    let packets = sent(&USUAL, &voice(-20.0, 2_000));
    let (straight, _) = listen(&packets, 500);
    let mut mixed = packets.clone();
    for (number, swapped) in mixed[1..].chunks_exact_mut(4).enumerate() {
        let (late, last) = (swapped[0].ms, swapped[3].ms);
        swapped.rotate_left(1 + number % 3);
        swapped.iter_mut().for_each(|sent| sent.ms = last.max(late));
    }
    // Every fifth comes twice.
    let mixed: Vec<Sent> = mixed.into_iter().flat_map(|sent| vec![sent.clone(); if sent.index % 5 == 0 { 2 } else { 1 }]).collect();
    let (told, counts) = listen(&mixed, 500);
    assert_eq!(told, straight);
    assert_eq!((counts.packets, counts.late), (120, 20));
}

#[test]
fn a_short_loss_is_made_up_and_a_long_one_is_missing() {
    let mut packets = sent(&USUAL, &sine(300.0, -20.0, 2_000));
    packets.retain(|sent| !matches!(sent.index, 1_020 | 1_040..1_043 | 1_060..1_070));
    let (told, counts) = listen(&packets, 0);
    assert!(are_in_step(&told, 0));
    assert_eq!(told.len(), 100);
    let lost: Vec<_> = FIRST.into_iter().chain((0..7).map(|number| (1_260 + 20 * number, Missing::Lost))).collect();
    assert_eq!(gaps(&told), lost);
    assert_eq!((counts.concealed_ms, counts.lost_ms), (20 + 60 + 60, 140 + 80));
    assert!(matches!(told[21], Told::Level(420, level) if level > -32.0), "{:?}", told[21]);
}

#[test]
fn what_the_sender_withholds_is_neither_lost_nor_silence() {
    let mut packets = sent(&USUAL, &voice(-20.0, 3_000));
    // DTX from 1 s to 2 s, with something every 400 ms; numbers run on.
    packets.retain(|sent| !(1_000..2_000).contains(&sent.ms) || sent.ms % 400 == 0);
    for (number, sent) in packets.iter_mut().enumerate() {
        sent.index = 50 + number as u64;
    }
    let (told, counts) = listen(&packets, 0);
    assert!(are_in_step(&told, 0));
    let withheld = gaps(&told)[4..].to_vec();
    assert_eq!(withheld.len(), 48);
    assert!(withheld.iter().all(|(ms, why)| *why == Missing::Withheld && (1_000..2_000).contains(ms) && ms % 400 != 0));
    assert_eq!(counts.withheld_ms, 960);
}

#[test]
fn a_packet_that_says_only_that_there_is_nothing_is_withheld() {
    let mut packets = sent(&USUAL, &voice(-20.0, 400));
    packets[10].payload.truncate(1);
    packets[11].payload.truncate(2);
    let (told, counts) = listen(&packets, 0);
    assert_eq!(gaps(&told)[4..], [(200, Missing::Withheld), (220, Missing::Withheld)]);
    assert_eq!(counts.malformed, 0);
}

#[test]
fn garbage_is_a_gap() {
    let mut packets = sent(&USUAL, &voice(-20.0, 1_000));
    packets[10].payload = Vec::new();
    packets[11].payload = vec![0x4B];
    packets[12].payload = vec![0x4B, 0x3F, 1, 2];
    packets[13].payload = vec![0x49, 1];
    packets[20].payload = vec![0xFF; 1_400];
    let (told, counts) = listen(&packets, 0);
    assert!(are_in_step(&told, 0));
    assert_eq!(counts.malformed, 5);
    assert_eq!(gaps(&told)[4..], [(260, Missing::Lost)], "the first three and the last one are made up");
}

#[test]
fn nothing_at_all_is_absence() {
    let packets = sent(&USUAL, &voice(-20.0, 500));
    let (told, _) = listen(&packets, 5_000);
    assert!(are_in_step(&told, 0));
    assert_eq!(gaps(&told)[4..].len(), (5_480 - 500 - 500) / 20);
    assert!(gaps(&told)[4..].iter().all(|(_, why)| *why == Missing::Absent));
    // And where nothing ever came.
    let (told, _) = listen(&[], 3_000);
    assert!(are_in_step(&told, 0));
    assert_eq!((told.len(), told[0]), (125, Told::Gap(0, Missing::Absent)));
}

#[test]
fn a_page_that_is_loaded_again_goes_on() {
    let packets = sent(&USUAL, &sine(440.0, -20.0, 1_000));
    let mut listener = Listener::new(at(0)).expect("a decoder");
    let mut all = Vec::new();
    for sent in &packets {
        listener.hear(&sent.packet(), &mut |moment, heard| all.push(told(moment, heard)));
    }
    listener.renew(&mut |moment, heard| all.push(told(moment, heard)));
    for sent in &packets {
        let again =
            Sent { index: sent.index - 900, timestamp: sent.timestamp.wrapping_add(0x5555_0000), ms: sent.ms + 1_700, ..sent.clone() };
        listener.hear(&again.packet(), &mut |moment, heard| all.push(told(moment, heard)));
    }
    assert!(are_in_step(&all, 0));
    assert_eq!(all.len(), 135);
    let gaps = gaps(&all)[4..].to_vec();
    assert_eq!(gaps.iter().filter(|(_, why)| *why == Missing::Absent).count(), 35, "700 ms of nobody");
    assert_eq!(gaps.iter().filter(|(_, why)| *why == Missing::Lost).count(), 4, "80 ms to find in");
}

#[test]
fn hours_that_a_page_claims_cost_nothing() {
    let packets = sent(&USUAL, &voice(-20.0, 200));
    let mut listener = Listener::new(at(0)).expect("a decoder");
    let mut frames = 0_u64;
    for number in 0..3_000_u32 {
        let payload = &packets[number as usize % packets.len()].payload;
        let timestamp = number.wrapping_mul(1_999_999_999);
        let packet = Packet { index: u64::from(number) * 1_000_000_007, timestamp, at: at(i64::from(number)), payload };
        listener.hear(&packet, &mut |_, _| frames += 1);
    }
    assert!(frames <= (3_000 + 2_000 + 20) / 20, "{frames} frames in 3 s");
    // A week of nothing is told by its first seconds.
    let mut late = 0;
    listener.tick(at(7 * 24 * 3_600_000), &mut |_, _| late += 1);
    assert!((1..=501).contains(&late), "{late}");
    let mut last = None;
    listener.tick(at(7 * 24 * 3_600_000 + 2_000), &mut |moment, _| last = Some(moment));
    assert!(last.is_some_and(|last| last > at(7 * 24 * 3_600_000)), "{last:?}");
}
