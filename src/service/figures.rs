//! What `/metrics` shows, by name. `docs/metrics.md` has the same names.
//!
//! A counter stands there from the start, so that an alarm on its growth sees the first event too.

use super::parties;
use super::room::Full;
use crate::call::{EndReason, RecordingEnd};
use crate::media::Media;

/// Counters of the service, with what each of them counts. Those of a shard are in [`measure`].
const COUNTERS: [(&str, &str); 12] = [
    ("lull_calls_created_total", "Calls that were made."),
    ("lull_calls_recovered_total", "Calls that were taken up after a crash."),
    ("lull_heartbeats_total", "Proofs of life of calls that were written."),
    ("lull_heartbeats_refused_total", "Groups of proofs of life that the store would not take."),
    ("lull_clock_steps_total", "Steps of the machine's clock."),
    ("lull_sleeps_total", "Times the machine slept."),
    ("lull_ear_left_out_total", "Packets that were not listened to, because the workers were late."),
    ("lull_ear_broken_total", "Calls in which a worker of the ear failed."),
    ("lull_fade_dropped_total", "Packets of a landing that were left out, because their worker was late."),
    ("lull_recordings_started_total", "Recordings that were begun."),
    ("lull_recordings_deleted_total", "Recordings of which nothing is left."),
    ("lull_recording_dropped_seconds_total", "Seconds of sound that a recording lacks, because the disk was late."),
];

/// Registers all counters at zero, with their meanings. Once, when there is a recorder.
pub fn describe() {
    for (name, meaning) in COUNTERS {
        metrics::describe_counter!(name, meaning);
        metrics::counter!(name).increment(0);
    }
    metrics::describe_counter!("lull_calls_refused_total", "Calls that were not made, because there was no room.");
    for full in Full::ALL {
        full.counter().increment(0);
    }
    metrics::describe_counter!("lull_calls_ended_total", "Calls that ended, by reason.");
    for reason in EndReason::ALL {
        metrics::counter!("lull_calls_ended_total", "reason" => reason.name()).increment(0);
    }
    metrics::describe_counter!("lull_sockets_dropped_total", "Sockets of pages that did not read, by code.");
    parties::dropped_sockets().increment(0);
    metrics::describe_counter!("lull_recordings_failed_total", "Recordings that ended by themselves, by reason.");
    for why in [RecordingEnd::DiskFull, RecordingEnd::Failed] {
        metrics::counter!("lull_recordings_failed_total", "reason" => why.name()).increment(0);
    }
}

/// Puts the media plane's figures where `/metrics` shows them; `docs/metrics.md` says what they mean.
pub fn measure(media: &Media) {
    metrics::counter!("lull_media_refused_calls_total", "shard" => "all").absolute(media.refused_calls());
    metrics::gauge!("lull_media_room_calls", "shard" => "all").set(media.room() as f64);
    for (shard, stats) in media.stats().into_iter().enumerate() {
        let shard = shard.to_string();
        let count = |name: &'static str, value: u64| metrics::counter!(name, "shard" => shard.clone()).absolute(value);
        let show = |name: &'static str, value: u64, unit: f64| metrics::gauge!(name, "shard" => shard.clone()).set(value as f64 / unit);
        count("lull_media_received_datagrams_total", stats.received);
        count("lull_media_forwarded_packets_total", stats.forwarded);
        count("lull_media_cpu_microseconds_total", stats.cpu_us);
        count("lull_media_refused_calls_total", stats.refused_calls);
        show("lull_media_legs", stats.legs, 1.0);
        show("lull_media_calls", stats.calls, 1.0);
        show("lull_media_room_calls", stats.room, 1.0);
        show("lull_media_queued_commands", stats.queued_commands, 1.0);
        show("lull_media_packet_cpu_microseconds", stats.packet_cost_ns, 1e3);
        show("lull_media_busy_ratio", stats.busy_ppm, 1e6);
        show("lull_media_setup_ratio", stats.setup_ppm, 1e6);
        show("lull_media_load_ratio", stats.load_ppm, 1e6);
        show("lull_media_lateness_p99_seconds", stats.late_p99_us, 1e6);
        show("lull_media_lateness_max_seconds", stats.late_worst_us, 1e6);
        let mut up_to = 0;
        for (bound_us, datagrams) in stats.late {
            up_to += datagrams;
            let le = bound_us.map_or("+Inf".to_owned(), |us| (us as f64 / 1e6).to_string());
            metrics::counter!("lull_media_lateness_seconds_bucket", "shard" => shard.clone(), "le" => le).absolute(up_to);
        }
        for (cause, count) in stats.dropped {
            metrics::counter!("lull_media_dropped_datagrams_total", "shard" => shard.clone(), "cause" => cause).absolute(count);
        }
    }
}
