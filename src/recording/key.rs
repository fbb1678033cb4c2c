//! Keys: those of the configuration, one of which wraps one of each recording. None is ever shown or written in clear.

use crate::ids::RecordingId;
use crate::store::WrappedKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest, Sha256};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The key of the configuration.
pub struct MasterKey {
    key: LessSafeKey,
    id: String,
}

/// The keys of the configuration: what is recorded is sealed by one, and what the others sealed before can still be opened.
#[derive(Debug, Default)]
pub struct Keys {
    /// Wraps the data keys of new recordings. Without it nothing is recorded.
    pub current: Option<MasterKey>,
    /// Those of before.
    pub old: Vec<MasterKey>,
}

impl Keys {
    /// The key of this name.
    pub(super) fn named(&self, id: &str) -> Option<&MasterKey> {
        self.current.iter().chain(&self.old).find(|key| key.id() == id)
    }

    /// Their names, for people.
    pub(super) fn names(&self) -> String {
        let names: Vec<&str> = self.current.iter().chain(&self.old).map(MasterKey::id).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

/// The key of one recording.
pub(super) struct DataKey([u8; 32]);

/// Shows its name alone.
impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

/// 32 octets in 64 hex digits or in base64 (RFC 4648 section 4).
pub fn parse_key(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        let mut key = [0; 32];
        for (octet, pair) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *octet = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        return Some(key);
    }
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// Why a file gives no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("cannot read the key of recordings in {}: {why}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// Others than its owner may read or write it.
    #[error("the key of recordings in {} is open to others (mode {mode:03o}); `chmod 600` it", .path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It does not hold a key.
    #[error("{} (recording.key_file, or of recording.old_key_files) does not hold 32 octets in hex or base64; `openssl rand -base64 32` makes such", .path.display())]
    Form {
        /// Which.
        path: PathBuf,
    },
}

impl MasterKey {
    /// The key in a file that only its owner may read.
    ///
    /// # Errors
    /// See [`KeyError`]; none of them shows what is in the file.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let unreadable = |why| KeyError::File { path: path.to_owned(), why };
        let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Open { path: path.to_owned(), mode });
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        parse_key(&text).map(|octets| Self::new(&octets)).ok_or_else(|| KeyError::Form { path: path.to_owned() })
    }

    /// The key of these octets.
    pub fn new(octets: &[u8; 32]) -> Self {
        let digest: [u8; 32] = Sha256::new().chain_update(b"lull recording key\n").chain_update(octets).finalize().into();
        let id = digest[..8].iter().map(|octet| format!("{octet:02x}")).collect();
        Self { key: aead(octets), id }
    }

    /// 16 hex digits that name it and say nothing of it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A data key as the database keeps it.
    pub(super) fn wrap(&self, id: RecordingId, key: &DataKey) -> WrappedKey {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = key.0;
        // Fails only for texts of 2^36 octets.
        let tag = self
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(id.to_string()), &mut sealed)
            .expect("32 octets are not too long for AES-GCM");
        let mut wrapped = [0; 60];
        wrapped[..12].copy_from_slice(&nonce);
        wrapped[12..44].copy_from_slice(&sealed);
        wrapped[44..].copy_from_slice(tag.as_ref());
        WrappedKey(wrapped)
    }

    /// None if another key wrapped it, for another recording, or it was changed.
    pub(super) fn unwrap(&self, id: RecordingId, WrappedKey(wrapped): &WrappedKey) -> Option<DataKey> {
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&wrapped[..12]);
        let mut sealed = [0; 48];
        sealed.copy_from_slice(&wrapped[12..]);
        let opened = self.key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(id.to_string()), &mut sealed).ok()?;
        Some(DataKey((&*opened).try_into().ok()?))
    }
}

impl DataKey {
    pub(super) fn fresh() -> Self {
        Self(rand::random())
    }

    /// What seals and opens.
    pub(super) fn aead(&self) -> LessSafeKey {
        aead(&self.0)
    }
}

fn aead(octets: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, octets).expect("AES-256 takes 32 octets"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_key_is_read_from_hex_or_base64_and_from_nothing_else() {
        let octets: [u8; 32] = std::array::from_fn(|i| i as u8);
        let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(parse_key(&hex), Some(octets));
        assert_eq!(parse_key(&hex.to_uppercase()), Some(octets));
        assert_eq!(parse_key(&format!("{}\n", STANDARD.encode(octets))), Some(octets));
        for text in ["", "secret", &hex[1..], &format!("{hex}0"), &STANDARD.encode([0; 31]), &"g".repeat(64)] {
            assert_eq!(parse_key(text), None, "{text}");
        }
    }

    #[test]
    fn a_data_key_comes_out_only_with_its_key_and_for_its_recording() {
        let (one, other) = (MasterKey::new(&[1; 32]), MasterKey::new(&[2; 32]));
        let (id, another) = (RecordingId::new(Uuid::from_u128(1)), RecordingId::new(Uuid::from_u128(2)));
        let key = DataKey::fresh();
        let wrapped = one.wrap(id, &key);
        assert!(one.unwrap(id, &wrapped).is_some_and(|opened| opened.0 == key.0));
        assert!(other.unwrap(id, &wrapped).is_none());
        assert!(one.unwrap(another, &wrapped).is_none());
        let mut changed = wrapped;
        changed.0[30] ^= 1;
        assert!(one.unwrap(id, &changed).is_none());
        assert_ne!(one.id(), other.id());
        assert!(!wrapped.0.windows(32).any(|part| part == key.0));
        assert_eq!(format!("{one:?}"), format!("MasterKey({})", one.id()));
    }
}
