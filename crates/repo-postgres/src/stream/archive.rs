//! What a server sends for BASE_BACKUP: archives one after the other, and a manifest.
//!
//! From version 15 on all of it is one copy whose messages say what they are; before, each archive
//! and the manifest is a copy of its own.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use postgres_protocol::message::backend::Message;

use crate::limits::SMALL_FILE_MAX;
use crate::stream::client::Client;
use crate::stream::error::{Error, Result};
use crate::stream::tar::{BLOCK, Header};

const DOING: &str = "send a backup";

/// The next thing that a server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// The archive of a tablespace, or of the data directory.
    Archive(Option<u32>),
    /// The list of all files.
    Manifest,
}

/// The parts of a backup. Reading gives the bytes of the one that [`Self::next`] named last.
pub(crate) struct Parts<'c> {
    client: &'c mut Client,
    /// Messages say what they are.
    typed: bool,
    /// The copies to come, where messages do not say.
    expected: std::vec::IntoIter<Part>,
    begun: bool,
    /// What a message announced after the end of the part before it.
    announced: Option<Part>,
    ended: bool,
    bytes: Bytes,
    failed: Option<Error>,
}

impl<'c> Parts<'c> {
    /// The parts of a backup of these tablespaces, in the server's order.
    pub(crate) fn new(client: &'c mut Client, version: u32, spaces: &[Option<u32>]) -> Self {
        let expected: Vec<Part> = spaces
            .iter()
            .map(|space| Part::Archive(*space))
            .chain([Part::Manifest])
            .collect();
        Self {
            client,
            typed: version >= 150_000,
            expected: expected.into_iter(),
            begun: false,
            announced: None,
            ended: false,
            bytes: Bytes::new(),
            failed: None,
        }
    }

    /// The next part, after the end of the one before it.
    pub(crate) fn next(&mut self) -> Result<Option<Part>> {
        // Archives end with zeros that nobody has to read.
        io::copy(self, &mut io::sink()).map_err(|error| self.failure(error))?;
        if self.typed {
            if !self.begun {
                self.begin()?;
                self.fill()?;
            }
            return Ok(self.announced.take());
        }
        let part = self.expected.next();
        if part.is_some() {
            self.begin()?;
            self.ended = false;
        }
        Ok(part)
    }

    /// The next header of an archive; `None` at its end.
    pub(crate) fn header(&mut self) -> Result<Option<Header>> {
        let mut block = [0; BLOCK];
        let mut held = 0;
        while held < BLOCK {
            match self.read(&mut block[held..]) {
                Ok(0) if held == 0 => return Ok(None),
                Ok(0) => return Err(Error::archive("it ends within a header")),
                Ok(read) => held += read,
                Err(error) => return Err(self.failure(error)),
            }
        }
        Header::parse(&block).map_err(Error::archive)
    }

    /// Reads over bytes.
    pub(crate) fn skip(&mut self, bytes: u64) -> Result<()> {
        let skipped = io::copy(&mut self.by_ref().take(bytes), &mut io::sink());
        match skipped {
            Ok(skipped) if skipped == bytes => Ok(()),
            Ok(_) => Err(Error::archive("it ends within an entry")),
            Err(error) => Err(self.failure(error)),
        }
    }

    /// The content of a file that is short.
    pub(crate) fn small(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > SMALL_FILE_MAX {
            return Err(Error::archive("a small file has an impossible length"));
        }
        let mut bytes = Vec::new();
        match self.by_ref().take(size).read_to_end(&mut bytes) {
            Ok(read) if read as u64 == size => Ok(bytes),
            Ok(_) => Err(Error::archive("it ends within an entry")),
            Err(error) => Err(self.failure(error)),
        }
    }

    /// What the server said, where reading failed because of it.
    pub(crate) fn failure(&mut self, error: io::Error) -> Error {
        self.failed.take().unwrap_or_else(|| Error::broken(error))
    }

    /// Takes what failed while somebody else was reading.
    pub(crate) fn take_failure(&mut self) -> Option<Error> {
        self.failed.take()
    }

    fn begin(&mut self) -> Result<()> {
        self.begun = true;
        match self.client.receive(DOING)? {
            Message::CopyOutResponse(_) => Ok(()),
            _ => Err(unclear()),
        }
    }

    /// Waits for bytes, the announcement of another part, or the end.
    fn fill(&mut self) -> Result<()> {
        while self.bytes.is_empty() && self.announced.is_none() && !self.ended {
            match self.client.receive(DOING)? {
                Message::CopyData(body) if self.typed => self.accept(body.into_bytes())?,
                Message::CopyData(body) => self.bytes = body.into_bytes(),
                Message::CopyDone => self.ended = true,
                _ => return Err(unclear()),
            }
        }
        Ok(())
    }

    fn accept(&mut self, mut message: Bytes) -> Result<()> {
        if message.is_empty() {
            return Err(unclear());
        }
        match message.get_u8() {
            b'd' => self.bytes = message,
            b'n' => {
                let name = message.split(|byte| *byte == 0).next().unwrap_or_default();
                self.announced = Some(Part::Archive(space(name)?));
            }
            b'm' => self.announced = Some(Part::Manifest),
            b'p' => {}
            _ => return Err(unclear()),
        }
        Ok(())
    }
}

/// The tablespace of an archive, by its name.
fn space(name: &[u8]) -> Result<Option<u32>> {
    if name == b"base.tar" {
        return Ok(None);
    }
    let name = std::str::from_utf8(name).ok();
    let oid = name.and_then(|name| name.strip_suffix(".tar")?.parse().ok());
    oid.map(Some).ok_or_else(unclear)
}

fn unclear() -> Error {
    Error::Answer { what: "a backup" }
}

impl Read for Parts<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.begun {
            return Ok(0);
        }
        if let Err(error) = self.fill() {
            let why = error.to_string();
            self.failed = Some(error);
            return Err(io::Error::other(why));
        }
        let read = buffer.len().min(self.bytes.len());
        self.bytes.split_to(read).copy_to_slice(&mut buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_known_by_their_names() {
        assert_eq!(space(b"base.tar").expect("known"), None);
        assert_eq!(space(b"16400.tar").expect("known"), Some(16400));
        for name in [&b""[..], b"base", b"x.tar", b"../1.tar", b"4294967296.tar"] {
            assert!(space(name).is_err());
        }
    }
}
