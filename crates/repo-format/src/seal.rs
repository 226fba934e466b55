//! Sealing of object bodies: one header per object, one subkey per header, counter nonces.
//!
//! ```text
//! offset  len  header of a pack, index, commit, checkpoint or parity object
//!      0    8  magic (by object kind)
//!      8    1  format version, 1
//!      9    1  cipher
//!     10    2  zero
//!     12    4  key epoch
//!     16   32  random salt
//!     48   16  session id
//!     64   32  key commitment
//! ```
//! Subkey = derive_key("repo format 1 object subkey", epoch key | repository id | header[0..64]).
//! The associated data of every sealed part is the object's key in the store; the nonce is the
//! part's offset in the object, so a part opens only in its own place of its own object.

use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use crate::cursor::Cursor;
use crate::error::{Error, malformed};
use crate::id::SessionId;
use crate::secrets::{Cipher, KeyRing, random_array};

/// Length of an object header, in bytes.
pub const HEADER_LEN: usize = 96;
/// Length of the authentication tag behind each sealed part, in bytes.
pub const TAG_LEN: usize = 16;

const COMMITMENT_AT: usize = 64;
const VERSION: u8 = 1;

/// The kinds of sealed objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// Segments of chunks.
    Pack,
    /// Sorted blob locations.
    Index,
    /// One entry of the log.
    Commit,
    /// The sum of all log entries up to a number.
    Checkpoint,
    /// What makes up for lost packs.
    Parity,
}

impl ObjectKind {
    /// The first eight bytes of an object of this kind.
    #[must_use]
    pub const fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Pack => b"REPOpack",
            Self::Index => b"REPOindx",
            Self::Commit => b"REPOcmit",
            Self::Checkpoint => b"REPOckpt",
            Self::Parity => b"REPOpari",
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pack => "pack",
            Self::Index => "index object",
            Self::Commit => "commit",
            Self::Checkpoint => "checkpoint",
            Self::Parity => "parity object",
        }
    }
}

/// The clear fields of an object header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Kind of the object.
    pub kind: ObjectKind,
    /// How its parts are sealed.
    pub cipher: Cipher,
    /// Number of the key epoch.
    pub epoch: u32,
    /// The run that wrote it.
    pub session: SessionId,
}

impl Header {
    /// Reads the clear fields; says nothing about authenticity.
    pub fn parse(kind: ObjectKind, bytes: &[u8]) -> Result<Self, Error> {
        let what = kind.name();
        let mut cursor = Cursor::new(what, bytes);
        if &cursor.array::<8>()? != kind.magic() {
            return Err(malformed(what, "it does not start with its magic"));
        }
        let version = cursor.u8()?;
        if version != VERSION {
            return Err(Error::Unsupported {
                what,
                needs: format!("format version {version}"),
            });
        }
        let cipher = cursor.u8()?;
        let cipher = Cipher::from_code(cipher).ok_or_else(|| Error::Unsupported {
            what,
            needs: format!("cipher {cipher}"),
        })?;
        if cursor.array::<2>()? != [0, 0] {
            return Err(malformed(what, "reserved header bytes are not zero"));
        }
        let epoch = cursor.u32()?;
        cursor.take(32)?;
        let session = SessionId(cursor.array()?);
        cursor.take(32)?;
        Ok(Self {
            kind,
            cipher,
            epoch,
            session,
        })
    }

    /// The epoch of `ring` whose key the commitment of `object` fits, whatever number its header
    /// states: tells a damaged number from a key that is not at hand.
    #[must_use]
    pub fn committed_epoch(ring: &KeyRing, object: &[u8]) -> Option<u32> {
        let mut header: [u8; HEADER_LEN] = *object.first_chunk()?;
        let secrets = ring.secrets();
        let fits = |epoch: &u32| {
            header[12..16].copy_from_slice(&epoch.to_le_bytes());
            let subkey = ring.subkey(*epoch, &header[..COMMITMENT_AT]);
            subkey.is_some_and(|subkey| header[COMMITMENT_AT..] == commitment(&subkey))
        };
        secrets.epochs.iter().map(|epoch| epoch.number).find(fits)
    }

    /// BLAKE3 of the whole header: the name of a pack or index object.
    #[must_use]
    pub fn object_id(header: &[u8; HEADER_LEN]) -> [u8; 32] {
        *blake3::hash(header).as_bytes()
    }
}

enum Key {
    Aead(Box<LessSafeKey>),
    Public([u8; 32]),
}

impl Key {
    fn new(cipher: Cipher, subkey: [u8; 32]) -> Result<Self, Error> {
        let algorithm = match cipher {
            Cipher::None => return Ok(Self::Public(subkey)),
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let key = UnboundKey::new(algorithm, &subkey).map_err(|_| Error::Random)?;
        Ok(Self::Aead(Box::new(LessSafeKey::new(key))))
    }

    fn nonce(counter: u64) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&counter.to_le_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    fn public_tag(key: &[u8; 32], counter: u64, aad: &[u8], body: &[u8]) -> [u8; TAG_LEN] {
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(&counter.to_le_bytes());
        hasher.update(&(aad.len() as u64).to_le_bytes());
        hasher.update(aad);
        hasher.update(body);
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&hasher.finalize().as_bytes()[..TAG_LEN]);
        tag
    }

    fn seal(&self, counter: u64, aad: &[u8], body: &mut [u8]) -> Result<[u8; TAG_LEN], Error> {
        match self {
            Self::Public(key) => Ok(Self::public_tag(key, counter, aad, body)),
            Self::Aead(key) => {
                let tag = key
                    .seal_in_place_separate_tag(Self::nonce(counter), Aad::from(aad), body)
                    .map_err(|_| Error::Random)?;
                let mut bytes = [0; TAG_LEN];
                bytes.copy_from_slice(tag.as_ref());
                Ok(bytes)
            }
        }
    }

    fn open<'b>(&self, counter: u64, aad: &[u8], sealed: &'b mut [u8]) -> Option<&'b mut [u8]> {
        match self {
            Self::Public(key) => {
                let at = sealed.len().checked_sub(TAG_LEN)?;
                let (body, tag) = sealed.split_at_mut(at);
                (Self::public_tag(key, counter, aad, body) == *tag).then_some(body)
            }
            Self::Aead(key) => key
                .open_in_place(Self::nonce(counter), Aad::from(aad), sealed)
                .ok(),
        }
    }
}

fn commitment(subkey: &[u8; 32]) -> [u8; 32] {
    *blake3::keyed_hash(subkey, b"repo format 1 key commitment").as_bytes()
}

/// Seals the parts of one new object, from front to back.
pub struct Sealer {
    header: [u8; HEADER_LEN],
    key: Key,
    path: Vec<u8>,
    /// First offset that no sealed part covers: no nonce below it is used again.
    end: usize,
}

impl Sealer {
    /// A new object of `kind` whose name is derived from its header: `path` makes the object's key
    /// in the store out of the id.
    pub fn create(
        ring: &KeyRing,
        kind: ObjectKind,
        session: SessionId,
        path: impl FnOnce([u8; 32]) -> String,
    ) -> Result<Self, Error> {
        let mut header = [0; HEADER_LEN];
        header[..8].copy_from_slice(kind.magic());
        header[8] = VERSION;
        header[9] = ring.cipher().code();
        let epoch = ring.sealing();
        header[12..16].copy_from_slice(&epoch.to_le_bytes());
        header[16..48].copy_from_slice(&random_array::<32>()?);
        header[48..64].copy_from_slice(&session.0);
        let subkey = ring
            .subkey(epoch, &header[..COMMITMENT_AT])
            .ok_or(Error::OtherKey { what: kind.name() })?;
        header[COMMITMENT_AT..].copy_from_slice(&commitment(&subkey));
        Ok(Self {
            path: path(Header::object_id(&header)).into_bytes(),
            key: Key::new(ring.cipher(), subkey)?,
            header,
            end: HEADER_LEN,
        })
    }

    /// The object's first bytes.
    #[must_use]
    pub fn header(&self) -> &[u8; HEADER_LEN] {
        &self.header
    }

    /// The object's id when it is named by its header.
    #[must_use]
    pub fn object_id(&self) -> [u8; 32] {
        Header::object_id(&self.header)
    }

    /// Seals `object[start..]` in place and appends the tag. `start` is the part's offset in the
    /// object, so each part of an object has its own nonce. An offset at or before a part that was
    /// sealed is refused: its nonce is used up.
    pub fn seal_tail(&mut self, object: &mut Vec<u8>, start: usize) -> Result<(), Error> {
        if start < self.end || start > object.len() {
            return Err(malformed(
                "sealed part",
                "it does not follow the one before",
            ));
        }
        self.end = object.len() + TAG_LEN;
        let tag = self
            .key
            .seal(start as u64, &self.path, &mut object[start..])?;
        object.extend_from_slice(&tag);
        Ok(())
    }

    /// Opens a part this sealer sealed, to compare it before upload.
    pub fn open_own<'b>(&self, start: u64, sealed: &'b mut [u8]) -> Result<&'b mut [u8], Error> {
        self.key
            .open(start, &self.path, sealed)
            .ok_or(Error::VerifyFailed)
    }
}

/// Opens the parts of one stored object.
pub struct Opener {
    header: Header,
    key: Key,
    path: Vec<u8>,
}

impl Opener {
    /// Checks the header of the object stored under `path` against its kind and key commitment,
    /// and, for objects named by their header, against `id`.
    pub fn new(
        ring: &KeyRing,
        kind: ObjectKind,
        path: &str,
        id: Option<[u8; 32]>,
        header: &[u8; HEADER_LEN],
    ) -> Result<Self, Error> {
        let what = kind.name();
        let fields = Header::parse(kind, header)?;
        if id.is_some_and(|id| id != Header::object_id(header)) {
            return Err(Error::Forged { what });
        }
        // A repository that encrypts never accepts an object that claims not to be encrypted.
        if (fields.cipher == Cipher::None) != (ring.cipher() == Cipher::None) {
            return Err(Error::Forged { what });
        }
        let subkey = ring
            .subkey(fields.epoch, &header[..COMMITMENT_AT])
            .ok_or(Error::OtherKey { what })?;
        if header[COMMITMENT_AT..] != commitment(&subkey) {
            return Err(Error::OtherKey { what });
        }
        Ok(Self {
            header: fields,
            key: Key::new(fields.cipher, subkey)?,
            path: path.as_bytes().to_vec(),
        })
    }

    /// The clear header fields, now authenticated.
    #[must_use]
    pub fn header(&self) -> Header {
        self.header
    }

    /// Opens the part that starts at offset `start` of the object, in place.
    pub fn open<'b>(&self, start: u64, sealed: &'b mut [u8]) -> Result<&'b mut [u8], Error> {
        self.key
            .open(start, &self.path, sealed)
            .ok_or(Error::Forged {
                what: self.header.kind.name(),
            })
    }
}

#[cfg(test)]
mod tests;
