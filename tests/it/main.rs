//! The tests that see lull from outside, in one binary so that they link once.

mod bench;
mod bot;
mod calls;
mod crash;
mod damage;
mod landing;
mod media;
mod money;
mod night;
mod opening;
mod overload;
mod page;
mod peer;
mod places;
mod plans;
mod rate;
mod recordings;
mod records;
mod rest;
mod running;
mod server;
mod sleep;
mod tidy;
mod voices;
mod ways;
mod webhooks;
