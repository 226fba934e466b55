use super::*;
use crate::sample::{CIPHERS, SESSION, noise, ring};

/// A group of packs of these lengths, coded into shards.
fn group(ring: &KeyRing, sizes: &[usize], shards: u32) -> (Vec<Vec<u8>>, Vec<Vec<u8>>, Table) {
    let packs: Vec<Vec<u8>> = (0..).zip(sizes).map(|(n, len)| noise(n, *len)).collect();
    let members = packs.iter().zip(0u8..).map(|(pack, n)| Member {
        id: PackId([n; 32]),
        size: pack.len() as u64,
        hashes: pack.chunks(BLOCK).map(block_hash).collect(),
    });
    let mut table = Table {
        group: [5; 16],
        width: 16,
        shards,
        shard: 0,
        members: members.collect(),
    };
    let len = usize::try_from(table.shard_len()).unwrap();
    let parts: Vec<Vec<u8>> = packs.iter().map(|pack| padded(pack, len)).collect();
    let mut objects = Vec::new();
    let mut coder = Coder::new(packs.len(), shards as usize).unwrap();
    coder
        .encode(&parts, |shard, parity| {
            let mut builder = ShardBuilder::new(ring, SESSION, len as u64)?;
            builder.push(parity)?;
            table.shard = u32::try_from(shard).unwrap();
            objects.push(builder.finish(&table)?.1);
            Ok(())
        })
        .unwrap();
    (packs, objects, table)
}

fn padded(bytes: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(len, 0);
    bytes
}

fn open(ring: &KeyRing, object: &[u8]) -> Result<(Opener, Table), Error> {
    let header = object.first_chunk().unwrap();
    let id = crate::seal::Header::object_id(header);
    let opener = Opener::new(
        ring,
        ObjectKind::Parity,
        &path(&ParityId(id)),
        Some(id),
        header,
    )?;
    let size = object.len() as u64;
    let end = object.len() - TRAILER_LEN;
    let len = crate::pack::trailer(WHAT, &object[end..], TRAILER_MAGIC, size)? as usize;
    let table = open_table(&opener, size, &mut object[end - len..end].to_vec())?;
    Ok((opener, table))
}

#[test]
fn a_shard_gives_back_its_table_and_blocks() {
    for cipher in CIPHERS {
        let ring = ring(cipher);
        let (packs, objects, mut table) = group(&ring, &[100, 2 * BLOCK + 7, BLOCK], 2);
        assert_eq!(table.shard_len(), 2 * BLOCK as u64 + 64);
        let mut shards = Vec::new();
        for (object, shard) in objects.iter().zip(0..) {
            let (opener, read) = open(&ring, object).unwrap();
            table.shard = shard;
            assert_eq!(read, table);
            let mut parity = Vec::new();
            for block in 0..blocks(table.shard_len()) {
                let place = block_place(table.shard_len(), block);
                let range =
                    usize::try_from(place.start).unwrap()..usize::try_from(place.end).unwrap();
                let mut sealed = object[range].to_vec();
                parity.extend_from_slice(opener.open(place.start, &mut sealed).unwrap());
            }
            shards.push(parity);
        }
        let len = shards[0].len();
        let whole: Vec<Vec<u8>> = packs.iter().map(|pack| padded(pack, len)).collect();
        let by_shards = [(0, &shards[0][..]), (1, &shards[1][..])];
        let rebuilt = rebuild((3, 2), 1, &[(0, &whole[0])], &by_shards).unwrap();
        assert_eq!(rebuilt.unwrap(), whole[1]);
        let too_few = rebuild((3, 2), 1, &[(0, &whole[0])], &by_shards[..1]).unwrap();
        assert_eq!(too_few, None);
    }
}

#[test]
fn any_packs_come_back_from_any_as_many_shards() {
    for (packs, shards) in [(1, 1), (1, 3), (2, 2), (5, 3), (16, 2), (32, 16)] {
        let parts: Vec<Vec<u8>> = (0..packs).map(|n| noise(n as u64, 128)).collect();
        let mut parity = Vec::new();
        Coder::new(packs, shards)
            .unwrap()
            .encode(&parts, |_, bytes| {
                parity.push(bytes.to_vec());
                Ok(())
            })
            .unwrap();
        assert_eq!(parity.len(), shards);
        for first in 0..packs {
            let lost: Vec<usize> = (0..shards.min(packs))
                .map(|n| (first + n) % packs)
                .collect();
            let sound = (0..packs).filter(|n| !lost.contains(n));
            let sound: Vec<(usize, &[u8])> = sound.map(|n| (n, &parts[n][..])).collect();
            // The last shards, as many as packs are lost.
            let of: Vec<(usize, &[u8])> = (shards - lost.len()..shards)
                .map(|n| (n, &parity[n][..]))
                .collect();
            for wanted in &lost {
                let rebuilt = rebuild((packs, shards), *wanted, &sound, &of).unwrap();
                assert_eq!(
                    rebuilt.unwrap(),
                    parts[*wanted],
                    "{packs} {shards} {wanted}"
                );
            }
            let fewer = rebuild((packs, shards), lost[0], &sound, &of[1..]).unwrap();
            assert_eq!(fewer, None);
        }
    }
}

/// The field as the document has it: multiplication modulo the polynomial, between numbers written
/// in the basis.
struct Field {
    to: Vec<u16>,
    from: Vec<u16>,
}

impl Field {
    const POLYNOMIAL: u32 = 0x1_002d;
    const BASIS: [u16; 16] = [
        0x0001, 0xacca, 0x3c0e, 0x163e, 0xc582, 0xed2e, 0x914c, 0x4012, 0x6c98, 0x10d8, 0x6a72,
        0xb900, 0xfdb8, 0xfb34, 0xff38, 0x991e,
    ];

    fn new() -> Self {
        let mut from = vec![0; 1 << 16];
        let to: Vec<u16> = (0..=u16::MAX)
            .map(|number| {
                let bits = (0..16).filter(|bit| number >> bit & 1 == 1);
                bits.fold(0, |sum, bit| sum ^ Self::BASIS[bit])
            })
            .collect();
        for (number, element) in (0..=u16::MAX).zip(&to) {
            from[usize::from(*element)] = number;
        }
        Self { to, from }
    }

    fn times(&self, a: u16, b: u16) -> u16 {
        let (mut a, b) = (u32::from(self.to[usize::from(a)]), self.to[usize::from(b)]);
        let mut product = 0;
        for bit in 0..16 {
            if b >> bit & 1 == 1 {
                product ^= a;
            }
            a <<= 1;
            if a >> 16 != 0 {
                a ^= Self::POLYNOMIAL;
            }
        }
        self.from[product as usize]
    }

    fn over(&self, a: u16, b: u16) -> u16 {
        // b to the power of 2^16 - 2 is its inverse.
        let (mut inverse, mut square) = (1, b);
        for _ in 0..15 {
            square = self.times(square, square);
            inverse = self.times(inverse, square);
        }
        assert_eq!(self.times(b, inverse), 1);
        self.times(a, inverse)
    }

    /// What pack `pack` contributes to shard `shard`, by the document.
    fn weight(&self, pack: u16, shards: u16, shard: u16) -> u16 {
        let m = shards.next_power_of_two();
        let first = m + pack / m * m;
        let mut weight = 1;
        for point in first..first + m {
            if point != m + pack {
                let factor = self.over(shard ^ point, (m + pack) ^ point);
                weight = self.times(weight, factor);
            }
        }
        weight
    }
}

#[test]
fn the_code_is_the_documented_one() {
    let field = Field::new();
    let symbol = |part: &[u8], at: usize| {
        let (chunk, at) = (at / 32 * 64, at % 32);
        u16::from_le_bytes([part[chunk + at], part[chunk + 32 + at]])
    };
    for (packs, shards) in [(1, 1), (3, 2), (7, 3), (16, 2), (20, 1), (5, 8)] {
        let parts: Vec<Vec<u8>> = (0..packs).map(|n| noise(u64::from(n), 128)).collect();
        let mut coder = Coder::new(usize::from(packs), usize::from(shards)).unwrap();
        coder
            .encode(&parts, |shard, parity| {
                let shard = u16::try_from(shard).unwrap();
                for at in 0..64 {
                    let terms = (0..packs).map(|pack| {
                        let weight = field.weight(pack, shards, shard);
                        field.times(weight, symbol(&parts[usize::from(pack)], at))
                    });
                    let sum = terms.fold(0, |sum, term| sum ^ term);
                    assert_eq!(sum, symbol(parity, at), "{packs} {shards} {shard} {at}");
                }
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn every_byte_of_a_shard_counts() {
    let ring = ring(crate::secrets::Cipher::Aes256Gcm);
    let (_, objects, table) = group(&ring, &[100, 300], 1);
    let object = &objects[0];
    let place = block_place(table.shard_len(), 0);
    let place = usize::try_from(place.start).unwrap()..usize::try_from(place.end).unwrap();
    let sound = |object: &[u8]| {
        let header = object.first_chunk().unwrap();
        let id = crate::seal::Header::object_id(objects[0].first_chunk().unwrap());
        let name = path(&ParityId(id));
        let opener = Opener::new(&ring, ObjectKind::Parity, &name, Some(id), header).ok()?;
        let (_, read) = open(&ring, object).ok()?;
        let mut sealed = object.get(place.clone())?.to_vec();
        opener.open(place.start as u64, &mut sealed).ok()?;
        Some(read)
    };
    assert_eq!(sound(object), Some(table));
    for at in 0..object.len() {
        let mut harmed = object.clone();
        harmed[at] ^= 0x10;
        assert_eq!(sound(&harmed), None, "{at}");
    }
}

#[test]
fn tables_out_of_range_are_refused() {
    let ring = ring(crate::secrets::Cipher::None);
    let (_, _, table) = group(&ring, &[100, BLOCK + 1], 2);
    let good = table.encode();
    assert_eq!(Table::decode(&good).unwrap(), table);
    let with = |at: usize, value: u32| {
        let mut raw = good.clone();
        raw[at..at + 4].copy_from_slice(&value.to_le_bytes());
        Table::decode(&raw).is_err()
    };
    // Width, packs, shards, shard.
    assert!(with(16, 1) && with(16, 33) && with(20, 0) && with(20, 33) && with(20, 3));
    assert!(with(24, 0) && with(24, 17) && with(28, 2) && with(28, u32::MAX));
    // The length of the first pack, and its name.
    assert!(with(64, 0) && with(64, 65_537) && with(68, 1));
    let mut twice = good.clone();
    twice.copy_within(72..104, 32);
    assert!(Table::decode(&twice).is_err());
    for len in 0..good.len() {
        assert!(Table::decode(&good[..len]).is_err());
    }
    assert!(Coder::new(0, 1).is_err() && Coder::new(33, 1).is_err());
    assert!(Coder::new(1, 0).is_err() && Coder::new(1, 17).is_err());
}
