//! A writer of Avro for tests: values with the blocks of their arrays as written, any codec.

use std::io::Write as _;

/// A block of an array or a map: whether its size is given, and items, with a key if it is a map.
pub(crate) type Block = (bool, Vec<(Option<String>, Value)>);

/// A value, its type known from the schema it is written with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Boolean(bool),
    Long(i64),
    Double(f64),
    Text(Vec<u8>),
    Fixed(Vec<u8>),
    Union(usize, Box<Self>),
    Record(Vec<Self>),
    /// An array or a map.
    Blocks(Vec<Block>),
}

impl Value {
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }

    /// A value of an optional field.
    pub(crate) fn some(self) -> Self {
        Self::Union(1, Box::new(self))
    }

    /// The absence of a value of an optional field.
    pub(crate) fn none() -> Self {
        Self::Union(0, Box::new(Self::Null))
    }

    /// An array written as one block.
    pub(crate) fn array(items: Vec<Self>) -> Self {
        Self::Blocks(vec![(
            false,
            items.into_iter().map(|item| (None, item)).collect(),
        )])
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => {}
            Self::Boolean(value) => out.push(u8::from(*value)),
            Self::Long(value) => put_long(out, *value),
            Self::Double(value) => out.extend_from_slice(&value.to_bits().to_le_bytes()),
            Self::Text(bytes) => put_bytes(out, bytes),
            Self::Fixed(bytes) => out.extend_from_slice(bytes),
            Self::Union(branch, value) => {
                put_long(out, *branch as i64);
                value.encode(out);
            }
            Self::Record(fields) => fields.iter().for_each(|field| field.encode(out)),
            Self::Blocks(blocks) => {
                for (sized, items) in blocks.iter().filter(|(_, items)| !items.is_empty()) {
                    let mut inner = Vec::new();
                    for (key, item) in items {
                        if let Some(key) = key {
                            put_bytes(&mut inner, key.as_bytes());
                        }
                        item.encode(&mut inner);
                    }
                    let count = items.len() as i64;
                    put_long(out, if *sized { -count } else { count });
                    if *sized {
                        put_long(out, inner.len() as i64);
                    }
                    out.extend_from_slice(&inner);
                }
                put_long(out, 0);
            }
        }
    }
}

pub(crate) fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        let [low, ..] = rest.to_le_bytes();
        out.push(low | 0x80);
        rest >>= 7;
    }
    let [low, ..] = rest.to_le_bytes();
    out.push(low);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

pub(crate) const SYNC: [u8; 16] = *b"0123456789abcdef";

/// A container whose blocks hold the given records.
pub(crate) fn container(schema: &str, codec: &str, blocks: &[Vec<Value>]) -> Vec<u8> {
    let blocks: Vec<(usize, Vec<u8>)> = blocks
        .iter()
        .map(|records| {
            let mut data = Vec::new();
            records.iter().for_each(|record| record.encode(&mut data));
            (records.len(), data)
        })
        .collect();
    raw_container(schema, codec, &blocks)
}

/// A container of blocks whose bytes and counts need not fit.
pub(crate) fn raw_container(schema: &str, codec: &str, blocks: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let mut out = b"Obj\x01".to_vec();
    put_long(&mut out, 3);
    for (key, value) in [
        ("avro.schema", schema),
        ("avro.codec", codec),
        ("content", "data"),
    ] {
        put_bytes(&mut out, key.as_bytes());
        put_bytes(&mut out, value.as_bytes());
    }
    put_long(&mut out, 0);
    out.extend_from_slice(&SYNC);
    for (count, data) in blocks {
        put_long(&mut out, *count as i64);
        put_bytes(&mut out, &compress(codec, data));
        out.extend_from_slice(&SYNC);
    }
    out
}

fn compress(codec: &str, data: &[u8]) -> Vec<u8> {
    match codec {
        "null" => data.to_vec(),
        "deflate" => {
            let mut encoder =
                flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(data).expect("deflate");
            encoder.finish().expect("deflate")
        }
        "snappy" => {
            let mut out = snap::raw::Encoder::new()
                .compress_vec(data)
                .expect("snappy");
            let mut crc = flate2::Crc::new();
            crc.update(data);
            out.extend_from_slice(&crc.sum().swap_bytes().to_le_bytes());
            out
        }
        "zstandard" => zstd::bulk::compress(data, 1).expect("zstd"),
        other => unreachable!("no codec {other}"),
    }
}
