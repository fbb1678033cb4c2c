//! The published vectors, and `rtc-srtp` as an oracle in both directions.

use super::*;
use proptest::prelude::*;
use rtc_crypto::{RTCCryptoProvider, providers::RingProvider};
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

const PROVIDER: RingProvider = RingProvider::new();

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// RFC 3711 appendix B.3.
#[test]
fn session_keys_are_derived_as_in_rfc_3711() {
    let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
    let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
    for (label, expected) in [
        (0, "C61E7A93744F39EE10734AFE3FF7A087"),
        (2, "30CBBC08863D8C85D49DB34A9AE1"),
        (
            1,
            "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCEE049646C43D9327AD175578EF72270986371C10C9A369AC2F94A8C5FBCDDDC256D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2DC68",
        ),
    ] {
        let mut out = vec![0; hex(expected).len()];
        derive(PROVIDER.crypto(), &key, &salt, label, &mut out).unwrap();
        assert_eq!(out, hex(expected), "label {label}");
    }
}

/// RFC 3711 appendix B.2: the key stream of SSRC 0, index 0.
#[test]
fn the_counter_mode_key_stream_is_that_of_rfc_3711() {
    let salt = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap();
    let key = hex("2B7E151628AED2A6ABF7158809CF4F3C");
    let mut stream = PROVIDER.crypto().new_stream_cipher(StreamCipherAlgorithm::Aes128Ctr, &key).unwrap();
    let mut data = vec![0; 0xFF02 * 16];
    stream.apply_keystream(&cm_iv(&salt, 0, 0), &mut data).unwrap();
    for (block, expected) in [
        (0, "E03EAD0935C95E80E166B16DD92B4EB4"),
        (1, "D23513162B02D0F72A43A2FE4A5F97AB"),
        (2, "41E95B3BB0A2E8DD477901E4FCA894C0"),
        (0xFEFF, "EC8CDF7398607CB0F2D21675EA9EA1E4"),
        (0xFF00, "362B7C3C6773516318A077D7FC5073AE"),
        (0xFF01, "6A2CC3787889374FBEB4C81B17BA6C44"),
    ] {
        assert_eq!(data[block * 16..][..16], hex(expected), "block {block:#x}");
    }
}

/// The session keys of RFC 7714 sections 16 and 17.
fn gcm_vector_ciphers() -> Ciphers {
    let cipher = || {
        let aead = PROVIDER.crypto().new_aead(AeadAlgorithm::Aes128Gcm, &hex("000102030405060708090a0b0c0d0e0f")).unwrap();
        Cipher::Gcm { aead, salt: hex("51756964 2070726f 2071756f").try_into().unwrap() }
    };
    Ciphers { rtp: cipher(), rtcp: cipher() }
}

/// RFC 7714 section 16.1.
#[test]
fn rtp_under_gcm_is_that_of_rfc_7714() {
    let clear = hex("8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573");
    let wire = hex("8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf \
                    8833899d 7f27beb1 6a9152cf 765ee439 0cce");
    let mut ciphers = gcm_vector_ciphers();
    let mut buffer = [clear.clone(), vec![0; 16]].concat();
    let len = ciphers.seal_rtp(&mut buffer, 12, clear.len(), 0x5501_A0B2, 0xF17B).unwrap();
    assert_eq!(buffer[..len], wire);
    let len = ciphers.open_rtp(&mut buffer, 12, 0x5501_A0B2, 0xF17B).unwrap();
    assert_eq!(buffer[..len], clear);
}

/// RFC 7714 section 17.1.
#[test]
fn rtcp_under_gcm_is_that_of_rfc_7714() {
    let clear = hex("81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef deadbeef deadbeef");
    let wire = hex("81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46 86303ded \
                    0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4");
    let mut ciphers = gcm_vector_ciphers();
    let mut buffer = [clear.clone(), vec![0; 20]].concat();
    let len = ciphers.seal_rtcp(&mut buffer, clear.len(), 0x5D4).unwrap();
    assert_eq!(buffer[..len], wire);
    assert_eq!(ciphers.rtcp_sender_and_index(&buffer), Ok((0x4D61_7273, 0x5D4)));
    let len = ciphers.open_rtcp(&mut buffer, 0x4D61_7273, 0x5D4).unwrap();
    assert_eq!(buffer[..len], clear);
}

#[test]
fn keying_splits_the_exporter_by_role_and_hides_it() {
    let material: Vec<u8> = (0..56).collect();
    let client = Keying::from_exporter(Profile::AeadAes128Gcm, &material, true).unwrap();
    let server = Keying::from_exporter(Profile::AeadAes128Gcm, &material, false).unwrap();
    assert_eq!((client.local_key.as_ref(), client.local_salt.as_ref()), (&material[..16], &material[32..44]));
    assert_eq!((client.remote_key.as_ref(), client.remote_salt.as_ref()), (&material[16..32], &material[44..]));
    assert_eq!((client.local_key.as_ref(), client.local_salt.as_ref()), (server.remote_key.as_ref(), server.remote_salt.as_ref()));
    assert!(Keying::from_exporter(Profile::Aes128CmHmacSha1_80, &material, true).is_none());
    assert!(!format!("{client:?}").contains("15, 16"));
}

fn both(profile: Profile, key: &[u8], salt: &[u8]) -> (Ciphers, Context) {
    let theirs = match profile {
        Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Profile::Aes128CmHmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
    };
    let oracle = Context::new(key, salt, theirs, None, None, PROVIDER.crypto()).unwrap();
    (Ciphers::new(profile, key, salt, PROVIDER.crypto()).unwrap(), oracle)
}

prop_compose! {
    fn keys()(gcm in any::<bool>(), key in any::<[u8; 16]>(), salt in any::<[u8; 14]>()) -> (Profile, [u8; 16], Vec<u8>) {
        let profile = if gcm { Profile::AeadAes128Gcm } else { Profile::Aes128CmHmacSha1_80 };
        (profile, key, salt[..profile.salt_len()].to_vec())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn rtp_agrees_with_the_oracle_both_ways(
        (profile, key, salt) in keys(), sequence in any::<u16>(), ssrc in any::<u32>(), payload in prop::collection::vec(any::<u8>(), 1..1200),
    ) {
        let (mut ours, mut oracle) = both(profile, &key, &salt);
        let mut clear = vec![0x80, 0x60];
        clear.extend(sequence.to_be_bytes());
        clear.extend([1, 2, 3, 4]);
        clear.extend(ssrc.to_be_bytes());
        clear.extend(&payload);
        let mut wire = oracle.encrypt_rtp(&clear).unwrap().to_vec();

        let mut sealed = [&clear[..], &[0; 16]].concat();
        let len = ours.seal_rtp(&mut sealed, 12, clear.len(), ssrc, u64::from(sequence)).unwrap();
        prop_assert_eq!(&sealed[..len], &wire[..]);

        let len = ours.open_rtp(&mut wire, 12, ssrc, u64::from(sequence)).unwrap();
        prop_assert_eq!(&wire[..len], &clear[..]);
        // Another roll-over counter is another packet.
        let (mut ours, _) = both(profile, &key, &salt);
        let len = sealed.len() - if profile == Profile::AeadAes128Gcm { 0 } else { 6 };
        prop_assert_eq!(ours.open_rtp(&mut sealed[..len], 12, ssrc, u64::from(sequence) + 0x1_0000), Err(Dropped::Forged));
    }

    #[test]
    fn rtcp_agrees_with_the_oracle_both_ways(
        (profile, key, salt) in keys(), ssrc in any::<u32>(), words in prop::collection::vec(any::<u32>(), 0..100), skipped in 0usize..3,
    ) {
        let (mut ours, mut oracle) = both(profile, &key, &salt);
        let mut clear = vec![0x80, 201, 0, 1 + words.len() as u8];
        clear.extend(ssrc.to_be_bytes());
        clear.extend(words.iter().flat_map(|w| w.to_be_bytes()));
        for _ in 0..skipped {
            oracle.encrypt_rtcp(&clear).unwrap();
        }
        let mut wire = oracle.encrypt_rtcp(&clear).unwrap().to_vec();
        let (sender, index) = ours.rtcp_sender_and_index(&wire).unwrap();
        prop_assert_eq!((sender, index), (ssrc, skipped as u32 + 1));

        let mut sealed = [&clear[..], &[0; 20]].concat();
        let len = ours.seal_rtcp(&mut sealed, clear.len(), index).unwrap();
        prop_assert_eq!(&sealed[..len], &wire[..]);
        let mut changed = wire.clone();
        let at = 8 + skipped * 5 % (wire.len() - 8);
        changed[at] ^= 1;
        prop_assert_eq!(ours.open_rtcp(&mut changed, sender, index), Err(Dropped::Forged));

        let len = ours.open_rtcp(&mut wire, sender, index).unwrap();
        prop_assert_eq!(&wire[..len], &clear[..]);
    }
}
