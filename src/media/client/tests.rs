//! The parts of a client against the media plane's own, with time moved by hand.

use super::dtls::{Dtls, Event as DtlsEvent, Identity};
use super::ice::Ice;
use super::*;
use crate::relay::Keying;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter};
use rtc_stun::attributes::{ATTR_USE_CANDIDATE, ATTR_USERNAME};

#[test]
fn the_media_plane_reads_our_offer_as_a_whole_page() {
    let identity = Identity::generate().expect("ring");
    let client = Client::new(identity, true);
    let offer = crate::media::sdp::Offer::parse(client.offer(), crate::call::Medium::Video).expect("acceptable");
    let _ = offer;
}
