#!/usr/bin/env python3
"""A second, independent reader of repositories, written from docs/format.md alone.

    reader.py REPO_DIR PASSWORD|- list
    reader.py REPO_DIR PASSWORD|- restore SNAPSHOT_ID|latest TARGET

It shows that the document is enough and gives tests something to compare the program with. It reads
repositories on a local disk, keeps every index entry in memory, and is slow. Section numbers are those of
the document.
"""

import bisect
import io
import json
import os
import stat
import struct
import sys
from pathlib import Path

import cbor2
import zstandard
from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

# Section 10.
CHUNK_MAX = NODE_MAX = 1 << 20
SEGMENT_RAW_MAX = 8 << 20
SEGMENT_CHUNKS_MAX = 16384
DELTA_DEPTH_MAX = 32
PACK_MAX = 512 << 20
DIRECTORY_RAW_MAX = INDEX_MAX = 256 << 20
INDEX_ENTRIES_MAX = 4 << 20
COMMIT_MAX = 64 << 20
CONFIG_MAX = 64 << 10
DEPTH_MAX = 12
KDF_RANGES = [(65536, 1 << 20), (3, 16), (1, 16)]

HEADER_LEN, TAG_LEN, TRAILER_LEN, BLOCK_ENTRIES, ENTRY_LEN = 96, 16, 8, 186, 22
RAW, ZSTD, ZSTD_BASE, ZSTD_CHAIN = 0, 1, 2, 3
DATA, TREE = 0, 1
FILE, DIRECTORY, SYMLINK, FIFO, CHAR_DEVICE, BLOCK_DEVICE = range(6)


class Damage(Exception):
    """Stored bytes are not what the document allows."""


def need(condition, what):
    if not condition:
        raise Damage(what)


# --- 1. Conventions -----------------------------------------------------------------------------------------


def hash_of(data):
    return blake3(data).digest()


def keyed_hash(key, data):
    return blake3(data, key=key).digest()


def derive_key(context, material):
    return blake3(material, derive_key_context=context).digest()


def load_cbor(data, what):
    stream = io.BytesIO(data)
    try:
        record = cbor2.CBORDecoder(stream, read_size=1).decode()
    except Exception as error:
        raise Damage(f"{what}: its CBOR does not decode: {error}") from error
    need(stream.tell() == len(data), f"{what}: bytes follow its end")
    return record


def unzstd(payload, raw_len, base=None):
    dictionary = None
    if base is not None:
        need(len(base) >= 8 and base[:4] != b"\x37\xa4\x30\xec", "this base is no raw content")
        dictionary = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    try:
        # The size a frame claims is looked at first: the library allocates it.
        need(zstandard.frame_content_size(payload) == raw_len, "a zstd frame claims another length")
        return zstandard.ZstdDecompressor(dict_data=dictionary).decompress(payload, max_output_size=raw_len)
    except zstandard.ZstdError as error:
        raise Damage(f"a zstd frame does not decode: {error}") from error


class Cursor:
    def __init__(self, data, what):
        self.data, self.what, self.at = data, what, 0

    def left(self):
        return len(self.data) - self.at

    def take(self, length):
        need(length <= self.left(), f"{self.what}: it ends early")
        self.at += length
        return self.data[self.at - length : self.at]

    def ints(self, layout):
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            need(value < 1 << 64, f"{self.what}: an integer exceeds 64 bits")
            if byte < 0x80:
                need(byte or not shift, f"{self.what}: an integer is not in its shortest form")
                return value
            shift += 7


# --- 3. Keys ------------------------------------------------------------------------------------------------


def read_config(store):
    data = store.get("config", CONFIG_MAX)
    need(data[:8] == b"REPOconf" and len(data) >= 40, "config: no magic")
    need(hash_of(data[:-32]) == data[-32:], "config: its hash does not match")
    config = load_cbor(data[8:-32], "config")
    need(config[0] == 1, f"config: format version {config[0]}")
    need(not config[9][0], f"config: reading needs features {config[9][0]}")
    need(config[2] in (0, 1, 2), f"config: cipher {config[2]}")
    need((config[2] == 0) == (config.get(10) is not None), "config: its cipher and its keys disagree")
    return config, hash_of(data)


def open_slot(store, name, password, config_hash):
    """The secrets, or None when the password is not this slot's."""
    data = store.get(f"keys/{name}", CONFIG_MAX)
    need(data[:8] == b"REPOkeys", "key slot: no magic")
    stored = load_cbor(data[8:], "key slot")
    slot = load_cbor(stored[0], "key slot")
    need(hash_of(slot[1]).hex() == name, "key slot: renamed")
    cost = [slot[0][0], slot[0][1], slot[0][2]]
    need(all(low <= x <= high for x, (low, high) in zip(cost, KDF_RANGES)), "key slot: its KDF is out of range")
    kek = hash_secret_raw(password, slot[1], cost[1], cost[0], cost[2], 32, Type.ID, 0x13)
    if derive_key("repo format 1 key slot commitment", kek) != stored[1]:
        return None
    wrap = ChaCha20Poly1305(derive_key("repo format 1 key slot wrap", kek))
    try:
        secrets = wrap.decrypt(bytes(12), stored[2], stored[0])
    except InvalidTag as error:
        raise Damage("key slot: forged") from error
    need(slot[2] == config_hash, "config: it is not the one the key slot was made for")
    return load_cbor(secrets, "secrets")


def read_secrets(store, config, config_hash, password):
    if config[2] == 0:
        need(password is None, "a password was given, but the repository is not encrypted")
        return load_cbor(config[10][0], "secrets")
    need(password is not None, "the repository is encrypted: give a password")
    for name in store.list("keys/"):
        secrets = open_slot(store, name, password, config_hash)
        if secrets is not None:
            return secrets
    raise Damage("the password opens no key slot")


class Ring:
    def __init__(self, config, secrets):
        self.repository, self.cipher = config[1], config[2]
        self.epochs = {epoch[0]: epoch[1] for epoch in reversed(secrets[2])}
        self.id_keys = [
            derive_key("repo format 1 data blob id", secrets[0]),
            derive_key("repo format 1 tree blob id", secrets[0]),
        ]

    def blob_id(self, kind, data):
        return keyed_hash(self.id_keys[kind], data)


class Opener:
    """3.4: opens the parts of one sealed object."""

    def __init__(self, ring, magic, key, header, name=None):
        need(len(header) == HEADER_LEN and header[:8] == magic, f"{key}: no magic")
        version, self.cipher, zero, epoch = struct.unpack("<BBHI", header[8:16])
        need(version == 1 and zero == 0, f"{key}: format version {version}")
        need(name is None or hash_of(header) == name, f"{key}: its header is not the one it is named by")
        need((self.cipher == 0) == (ring.cipher == 0) and self.cipher < 3, f"{key}: cipher {self.cipher}")
        need(epoch in ring.epochs, f"{key}: epoch {epoch} is not known")
        material = ring.epochs[epoch] + ring.repository + header[:64]
        self.subkey = derive_key("repo format 1 object subkey", material)
        need(keyed_hash(self.subkey, b"repo format 1 key commitment") == header[64:], f"{key}: another key")
        self.key = key.encode()
        self.aead = {0: None, 1: AESGCM, 2: ChaCha20Poly1305}[self.cipher]
        self.aead = self.aead and self.aead(self.subkey)

    def open(self, offset, sealed):
        need(len(sealed) >= TAG_LEN, f"{self.key}: a part is too short")
        counter = struct.pack("<Q", offset)
        if self.aead is None:
            body = sealed[:-TAG_LEN]
            tag = keyed_hash(self.subkey, counter + struct.pack("<Q", len(self.key)) + self.key + body)
            need(tag[:TAG_LEN] == sealed[-TAG_LEN:], f"{self.key}: damaged at {offset}")
            return body
        try:
            return self.aead.decrypt(counter + bytes(4), sealed, self.key)
        except InvalidTag as error:
            raise Damage(f"{self.key}: damaged at {offset}") from error


def open_envelope(data, raw_max, what):
    cursor = Cursor(data, what)
    codec, raw_len = cursor.ints("BI")
    need(raw_len <= raw_max, f"{what}: too long")
    payload = cursor.take(cursor.left())
    if codec == RAW:
        need(len(payload) == raw_len, f"{what}: its length is wrong")
        return payload
    need(codec == ZSTD, f"{what}: codec {codec}")
    return unzstd(payload, raw_len)


# --- 2. Objects ---------------------------------------------------------------------------------------------


class Store:
    def __init__(self, root):
        self.root = Path(root)

    def get(self, key, size_max):
        try:
            with open(self.root / key, "rb") as file:
                data = file.read(size_max + 1)
        except FileNotFoundError as error:
            raise Damage(f"{key}: missing") from error
        need(len(data) <= size_max, f"{key}: too long")
        return data

    def range(self, key, offset, length):
        try:
            with open(self.root / key, "rb") as file:
                file.seek(offset)
                data = file.read(length)
        except FileNotFoundError as error:
            raise Damage(f"{key}: missing") from error
        need(len(data) == length, f"{key}: ends early")
        return data

    def list(self, prefix):
        folder = self.root / prefix
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        hexadecimal = set("0123456789abcdef")
        if prefix == "keys/":
            return [name for name in names if len(name) == 64 and set(name) <= hexadecimal]
        return names


# --- 4. The log ---------------------------------------------------------------------------------------------


class State:
    def __init__(self):
        self.number, self.hash = 0, bytes(32)
        self.snapshots, self.indexes = [], []  # [id, record, tags, protected] and ids


def open_record(ring, magic, key, data):
    opener = Opener(ring, magic, key, data[:HEADER_LEN])
    return load_cbor(open_envelope(opener.open(HEADER_LEN, data[HEADER_LEN:]), COMMIT_MAX, key), key)


def snapshot_refs(refs):
    found = []
    for ref in refs:
        record = load_cbor(ref[0], "snapshot")
        need(record[4][0] == b"" and record[4][1] == DIRECTORY, "snapshot: its root is no nameless directory")
        found.append([hash_of(ref[0]), record, ref[1], ref.get(2, False)])
    return found


def fold(state, ring, key, data):
    commit = open_record(ring, b"REPOcmit", key, data)
    need(not commit[11], f"{key}: needs features {commit[11]}")
    need(commit[0] == state.number + 1, f"{key}: it holds number {commit[0]}")
    need(commit[1] == state.hash, f"{key}: it does not follow the commit before")
    removed = set(commit[5])
    state.snapshots = [ref for ref in state.snapshots if ref[0] not in removed] + snapshot_refs(commit[4])
    changes = {change[0]: change for change in commit[6]}
    for ref in state.snapshots:
        change = changes.get(ref[0], {})
        ref[2], ref[3] = change.get(1, ref[2]), change.get(2, ref[3])
    removed = set(commit[8])
    state.indexes = [index for index in state.indexes if index not in removed]
    state.indexes += [index[0] for index in commit[7]]
    state.number, state.hash = commit[0], hash_of(data)


def comparable(state):
    return [[id, tags, protected] for id, _, tags, protected in state.snapshots], state.indexes


def beginning(store, ring, names):
    """The number the log begins with: the newest checkpoint knows."""
    for number, dot, name in reversed(names):
        if dot:
            record = open_record(ring, b"REPOckpt", f"log/{name}", store.get(f"log/{name}", COMMIT_MAX))
            begins = record.get(7)
            return begins[0] if begins else 1
    return 1


def read_log(store, ring):
    """Folds all commits; each checkpoint met on the way must say the same."""
    state = State()
    names = []
    for name in store.list("log/"):
        digits, dot, suffix = name.partition(".")
        if len(digits) == 20 and digits.isdigit() and (not dot or suffix == "checkpoint"):
            names.append((int(digits), dot, name))
    start = beginning(store, ring, names)
    for number, dot, name in names:
        if number < start:
            continue  # may be deleted at any time, and says nothing
        key = f"log/{name}"
        data = store.get(key, COMMIT_MAX)
        if not dot:
            if start > 1 and state.number == 0:
                continue  # the checkpoint of the first commit, or one after it, sums it up
            if number > state.number:
                need(number == state.number + 1, f"log: commit {state.number + 1} is missing")
                fold(state, ring, key, data)
            continue
        record = open_record(ring, b"REPOckpt", key, data)
        need(not record[5], f"{key}: needs features {record[5]}")
        need(record[0] == number, f"{key}: it holds number {record[0]}")
        summed = State()
        summed.number, summed.hash = record[0], record[1]
        summed.snapshots, summed.indexes = snapshot_refs(record[2]), [ref[0] for ref in record[3]]
        if state.number == record[0]:
            need(comparable(state) == comparable(summed) and state.hash == summed.hash, f"{key}: wrong sum")
        elif start > 1 and state.number == 0:
            state = summed  # what it sums up is not there any more
    return state


# --- 5 and 6. Blobs -----------------------------------------------------------------------------------------


def read_index(store, ring, index_id):
    """Entries as (key, pack id, pack size, offset, sealed length, raw length, ordinal), sorted."""
    key = f"index/{index_id.hex()}"
    data = store.get(key, INDEX_MAX)
    opener = Opener(ring, b"REPOindx", key, data[:HEADER_LEN], index_id)
    tail_len, magic = struct.unpack("<I4s", data[-TRAILER_LEN:])
    start = len(data) - TRAILER_LEN - tail_len
    need(magic == b"ridx" and start >= HEADER_LEN, f"{key}: no trailer")
    cursor = Cursor(opener.open(start, data[start:-TRAILER_LEN]), key)
    entries, packs, segments, filter_len = cursor.ints("QIII")
    need(entries <= INDEX_ENTRIES_MAX, f"{key}: too many entries")
    packs = [cursor.ints("32sQ") for _ in range(packs)]
    segments = [cursor.ints("IIII") for _ in range(segments)]
    blocks = -(-entries // BLOCK_ENTRIES)
    need(cursor.left() == blocks * 16 + filter_len, f"{key}: its tail has another length")
    need(start == HEADER_LEN + entries * ENTRY_LEN + blocks * TAG_LEN, f"{key}: its blocks do not fill it")
    for pack, offset, stored, raw in segments:
        need(pack < len(packs) and offset + stored <= packs[pack][1] <= PACK_MAX, f"{key}: a row points outside")
        need(raw <= SEGMENT_RAW_MAX, f"{key}: a segment is too long")
    found = []
    for block in range(blocks):
        offset = HEADER_LEN + block * (BLOCK_ENTRIES * ENTRY_LEN + TAG_LEN)
        count = min(BLOCK_ENTRIES, entries - block * BLOCK_ENTRIES)
        body = opener.open(offset, data[offset : offset + count * ENTRY_LEN + TAG_LEN])
        for blob, row, ordinal in struct.iter_unpack("<16sIH", body):
            need(row < len(segments), f"{key}: an entry points outside")
            pack, offset, stored, raw = segments[row]
            found.append((blob, *packs[pack], offset, stored, raw, ordinal))
    need(all(a[0] < b[0] for a, b in zip(found, found[1:])), f"{key}: its entries are not sorted")
    return found


def parse_body(body):
    """codec, kind, chunk lengths, base or None, depth, payload."""
    cursor = Cursor(body, "segment")
    codec, kind = cursor.ints("BB")
    count = cursor.varint()
    need(codec <= ZSTD_CHAIN and kind <= 1 and 1 <= count <= SEGMENT_CHUNKS_MAX, "segment: its head is out of range")
    lens = [cursor.varint() for _ in range(count)]
    need(all(1 <= length <= CHUNK_MAX for length in lens), "segment: a chunk length is out of range")
    need(sum(lens) <= SEGMENT_RAW_MAX, "segment: too long")
    base, depth = None, 0
    if codec in (ZSTD_BASE, ZSTD_CHAIN):
        need(count == 1 and kind == DATA, "segment: a delta is not one data chunk")
        base, depth = bytes(cursor.take(32)), 1
    if codec == ZSTD_CHAIN:
        (depth,) = cursor.ints("B")
        need(2 <= depth <= DELTA_DEPTH_MAX, "segment: its depth is out of range")
    return codec, kind, lens, base, depth, cursor.take(cursor.left())


class Blobs:
    def __init__(self, store, ring, indexes):
        self.store, self.ring = store, ring
        self.indexes = [read_index(store, ring, index) for index in indexes]
        self.openers, self.segments = {}, {}

    def segment(self, pack, offset, stored, raw_len, below):
        """A decoded segment, of a depth smaller than `below`."""
        if (pack, offset) in self.segments:
            depth, *segment = self.segments[pack, offset]
            need(depth < below, f"packs/{pack.hex()}: a base is as deep as its delta")
            return segment
        key = f"packs/{pack.hex()[:2]}/{pack.hex()}"
        if pack not in self.openers:
            header = self.store.range(key, 0, HEADER_LEN)
            self.openers[pack] = Opener(self.ring, b"REPOpack", key, header, pack)
        body = self.openers[pack].open(offset, self.store.range(key, offset, stored))
        codec, kind, lens, base, depth, payload = parse_body(body)
        need(depth < below, f"{key}: a base is as deep as its delta")
        need(sum(lens) == raw_len, f"{key}: the index gives another length at {offset}")
        if codec == RAW:
            raw = payload
            need(len(raw) == raw_len, f"{key}: a segment has another length")
        else:
            raw = unzstd(payload, raw_len, None if base is None else self.get(DATA, base, depth))
        if len(self.segments) >= 16:
            self.segments.pop(next(iter(self.segments)))
        self.segments[pack, offset] = depth, kind, lens, raw
        return kind, lens, raw

    def get(self, kind, blob_id, below=DELTA_DEPTH_MAX + 1):
        problem = "it is in no index"
        for entries in self.indexes:
            at = bisect.bisect_left(entries, (blob_id[:16],))
            if at == len(entries) or entries[at][0] != blob_id[:16]:
                continue
            _, pack, _, offset, stored, raw_len, ordinal = entries[at]
            try:
                found_kind, lens, raw = self.segment(pack, offset, stored, raw_len, below)
                need(ordinal < len(lens) and found_kind == kind, "the index points at another chunk")
                start = sum(lens[:ordinal])
                data = raw[start : start + lens[ordinal]]
                need(self.ring.blob_id(kind, data) == blob_id, "its bytes have another id")
                return data
            except Damage as error:
                problem = error
        raise Damage(f"blob {blob_id.hex()}: {problem}")


# --- 7. Trees -----------------------------------------------------------------------------------------------


def check_name(name, before):
    bad = name in (b"", b".", b"..") or b"/" in name or b"\0" in name
    need(not bad, f"tree: the name {name!r} is not allowed")
    need(before is None or before < name, "tree: names are not in ascending order")


def entries_of(blobs, node_id, depth=0):
    need(depth <= DEPTH_MAX, "tree: nested too deep")
    data = blobs.get(TREE, node_id)
    need(len(data) <= NODE_MAX and data[0] <= 1, f"tree: node type {data[0]}")
    before = None
    for item in load_cbor(data[1:], "tree node"):
        check_name(item[0], before)
        before = item[0]
        if data[0] == 0:
            yield item
            continue
        last = None
        for entry in entries_of(blobs, item[1], depth + 1):
            last = entry[0]
            yield entry
        need(last == item[0], "tree: the last name below a node is another")


def directory(blobs, entry):
    """All entries of a directory, in order over all its leaves."""
    before = None
    for child in entries_of(blobs, entry[10]) if entry.get(10) else ():
        check_name(child[0], before)
        before = child[0]
        yield child


def chunks_of(blobs, content, level=None, length=None):
    """(length, chunk id or None for a hole) in file order."""
    cursor = Cursor(content, "content")
    found = cursor.take(1)[0]
    need(found <= DEPTH_MAX and level in (None, found), f"content: level {found}")
    total = 0
    while cursor.left():
        head = cursor.varint()
        size, hole = head >> 1, head & 1
        need(size and not (hole and found), "content: an extent is out of range")
        need(hole or found or size <= CHUNK_MAX, "content: a chunk is too long")
        total += size
        blob_id = None if hole else bytes(cursor.take(32))
        if found:
            yield from chunks_of(blobs, blobs.get(TREE, blob_id), found - 1, size)
        else:
            yield size, blob_id
    need(length in (None, total), "content: a chunk list has another length")


# --- 8. Restoring -------------------------------------------------------------------------------------------


def permitted(what, path, action):
    """Owners, devices and some attributes need rights that a reader may not have."""
    try:
        action()
    except OSError as error:
        print(f"{path}: {what}: {error.strerror}", file=sys.stderr)


class Restore:
    def __init__(self, blobs):
        self.blobs, self.links = blobs, {}

    def file(self, entry, path):
        written = 0
        # O_EXCL: nothing at this path is followed or overwritten.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as file:
            for size, chunk in chunks_of(self.blobs, entry[9]) if entry.get(9) else ():
                if chunk is None:
                    file.seek(size, os.SEEK_CUR)
                else:
                    data = self.blobs.get(DATA, chunk)
                    need(len(data) == size, f"{path}: a chunk has another length")
                    file.write(data)
                written += size
            file.truncate(written)
        need(written == entry[8], f"{path}: {written} bytes of {entry[8]}")

    def node(self, entry, path):
        kind = entry[1]
        link = entry.get(14)
        if link and kind != DIRECTORY:
            first = self.links.setdefault(tuple(link), path)
            if first != path:
                os.link(first, path, follow_symlinks=False)
                return
        if kind == FILE:
            self.file(entry, path)
        elif kind == DIRECTORY:
            os.mkdir(path, 0o700)
            self.children(entry, path)
        elif kind == SYMLINK:
            os.symlink(entry[11], path)
        elif kind == FIFO:
            os.mkfifo(path)
        elif kind in (CHAR_DEVICE, BLOCK_DEVICE):
            mode = stat.S_IFCHR if kind == CHAR_DEVICE else stat.S_IFBLK
            permitted("device", path, lambda: os.mknod(path, mode | 0o600, entry[13]))
            if not os.path.lexists(path):
                return
        else:
            raise Damage(f"{path}: an entry of kind {kind}")
        self.metadata(entry, path)

    def children(self, entry, path):
        for child in directory(self.blobs, entry):
            self.node(child, os.path.join(path, child[0]))

    def metadata(self, entry, path):
        permitted("owner", path, lambda: os.chown(path, entry[3], entry[4], follow_symlinks=False))
        for name, value in (pair[:2] for pair in entry.get(12) or ()):
            permitted("attribute", path, lambda: os.setxattr(path, name, value, follow_symlinks=False))
        if entry[1] != SYMLINK:
            os.chmod(path, entry[2] & 0o7777)
        seconds, nanos = entry[5][:2]
        os.utime(path, ns=(seconds * 10**9 + nanos,) * 2, follow_symlinks=False)


def choose(state, wanted):
    need(state.snapshots, "there is no snapshot")
    if wanted == "latest":
        return state.snapshots[-1]
    found = [ref for ref in state.snapshots if len(wanted) >= 4 and ref[0].hex().startswith(wanted)]
    need(len(found) == 1, f"{len(found)} snapshots are named {wanted}")
    return found[0]


def run(repository, password, command, *rest):
    store = Store(repository)
    config, config_hash = read_config(store)
    password = None if password == "-" else password.encode()
    ring = Ring(config, read_secrets(store, config, config_hash, password))
    state = read_log(store, ring)
    if command == "list":
        for snapshot_id, record, tags, protected in state.snapshots:
            paths = [path.decode(errors="replace") for path in record[3]]
            line = {"id": snapshot_id.hex(), "time_ms": record[0], "host": record[1], "paths": paths, "tags": tags}
            line["protected"] = protected
            print(json.dumps(line))
    elif command == "restore" and len(rest) == 2:
        target = os.fsencode(rest[1])
        _, record, *_ = choose(state, rest[0])
        blobs = Blobs(store, ring, state.indexes)
        os.makedirs(target, exist_ok=True)
        need(not os.listdir(target), "the target is not empty")
        Restore(blobs).children(record[4], target)
    else:
        raise Damage("no such command: " + command)


def main():
    if len(sys.argv) < 4:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        run(*sys.argv[1:])
    except Damage as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
