use super::{Error, Params, Sizes};

fn sizes(min: u32, avg: u32, max: u32) -> Sizes {
    Sizes { min, avg, max }
}

#[test]
fn defaults_are_valid() {
    assert_eq!(Params::default().validate(), Ok(()));
}

#[test]
fn unsafe_sizes_are_refused() {
    for bad in [
        sizes(0, 4096, 8192),
        sizes(32, 4096, 8192),
        sizes(1000, 4096, 8192),
        sizes(1024, 4095, 8192),
        sizes(1024, 6144, 8192),
        sizes(8192, 4096, 8192),
        sizes(1024, 8192, 4096),
        sizes(64, 256, 512),
        sizes(1024, 4096, 1 << 21),
        sizes(u32::MAX, u32::MAX, u32::MAX),
    ] {
        let generic = Params {
            generic: bad,
            ..Params::default()
        };
        assert!(generic.validate().is_err(), "{bad:?}");
        let columnar = Params {
            columnar: bad,
            ..Params::default()
        };
        assert!(columnar.validate().is_err(), "{bad:?}");
    }
    for good in [
        sizes(64, 256, 1024),
        sizes(4096, 4096, 4096),
        sizes(1 << 20, 1 << 20, 1 << 20),
    ] {
        let params = Params {
            generic: good,
            columnar: good,
            ..Params::default()
        };
        assert_eq!(params.validate(), Ok(()), "{good:?}");
    }
}

#[test]
fn grid_is_a_multiple_of_every_page_size() {
    for (size, good) in [
        (0, false),
        (8192, false),
        (65536, true),
        (196_608, true),
        (1 << 20, true),
        (1 << 21, false),
    ] {
        let params = Params {
            page_chunk: size,
            ..Params::default()
        };
        assert_eq!(params.validate().is_ok(), good, "{size}");
        if !good {
            assert_eq!(params.validate(), Err(Error::PageChunk { size }));
        }
    }
}
