//! lull: timed voice and video calls, carried, metered, ended and settled by one binary.
//!
//! The house has floors; a room may use the rooms below it and never those beside or above it.
//! `tests/it/tidy.rs` keeps this.
//!
//! | floor | rooms | |
//! |---|---|---|
//! | 1 | [`ids`] [`money`] [`clock`] | plain values |
//! | 1 | `fuzzing` | what fuzz targets are made of; not in the product |
//! | 1 | [`seeded`] | faults put in on purpose, to show that tests find them; none in the product |
//! | 2 | [`billing`] [`relay`] | pure rules; no edges between them |
//! | 2 | [`audio`] | Opus packets to sound, and what can be measured of sound; pure, libopus and buffers only |
//! | 2 | [`signing`] | signatures over records |
//! | 3 | [`sleep`] | whether the client sleeps, from what [`audio`] measures |
//! | 4 | [`call`] | a call ends when its money does, and only [`billing`] knows when that is |
//! | 5 | [`exchange`] | the core: calls and their money; events in, effects out |
//! | 6 | [`media`] [`store`] | sockets and shards; SQLite; no edges between them |
//! | 7 | [`recording`] | the sound of one party, encrypted, on disk |
//! | 8 | [`sound`] | worker threads: what is heard, faded, played and recorded |
//! | 9 | [`service`] [`config`] | the loop, wire to core, carrying effects out |
//! | 9 | [`webhooks`] | events to vendors' programs: what the store has due goes out, what came of it goes back |
//! | 9 | [`bot`] | the companion of `lull demo --bot`; uses `media::client` only |
//! | 9 | [`bench`] | what this machine carries: a media plane and a crowd of `media::client`s |
//! | 10 | [`simulate`] | nights of calls in virtual time; uses the core, the store and the service's order of things, so it stands above them |
//! | 10 | `main` | serve, demo, bench, audit, rate, simulate, verify, export, keys, config, vendor |
//!
//! Floors 1 to 5 do no IO, read no clock, draw no random number, take no lock: time is an argument.
//! Wire types end in `service::wire`, WebRTC types inside `media`, database rows inside `store`.

pub mod audio;
pub mod bench;
pub mod billing;
pub mod bot;
pub mod call;
pub mod clock;
pub mod config;
pub mod exchange;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod ids;
pub mod media;
pub mod money;
pub mod recording;
pub mod relay;
pub mod seeded;
pub mod service;
pub mod signing;
pub mod simulate;
pub mod sleep;
pub mod sound;
pub mod store;
pub mod webhooks;
