use zstd::zstd_safe::*;
fn noise(seed: u64, len: usize) -> Vec<u8> { let mut b = vec![0; len]; blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut b); b }
fn text(seed: u64, len: usize) -> Vec<u8> { let mut b = Vec::new(); for l in seed.. { if b.len()>=len {break;} let w = noise(l,4); b.extend_from_slice(format!("row {l}: {w:?}, balance unchanged\n").as_bytes()); } b.truncate(len); b }
fn main() {
  for (name, base) in [("noise1M", noise(1,1<<20)), ("noise256K", noise(1,1<<18)), ("noise64K", noise(1,1<<16)), ("text300K", text(1,300_000)), ("text1M", text(1,1<<20)), ("text64K", text(1,1<<16))] {
    let mut raw = base.clone(); let n = raw.len();
    for k in 0..8 { let at = n*k/8+77; raw[at..at+50].copy_from_slice(&noise(k as u64+50,50)); }
    let mut out = vec![0u8; compress_bound(n)];
    for level in [1,3,6,9] {
      let mut c = CCtx::create();
      let f = c.compress(&mut out[..], &raw, level).unwrap();
      let t=std::time::Instant::now();
      let d = c.compress_using_dict(&mut out[..], &raw, &base, level).unwrap();
      let td=t.elapsed();
      let mut c2 = CCtx::create();
      c2.set_parameter(CParameter::CompressionLevel(level)).unwrap();
      c2.set_parameter(CParameter::WindowLog(22)).unwrap();
      c2.ref_prefix(&base).unwrap();
      let t=std::time::Instant::now();
      let p = c2.compress2(&mut out[..], &raw).unwrap();
      let tp=t.elapsed();
      c2.set_parameter(CParameter::EnableLongDistanceMatching(true)).unwrap();
      c2.ref_prefix(&base).unwrap();
      let t=std::time::Instant::now();
      let l = c2.compress2(&mut out[..], &raw).unwrap();
      let tl=t.elapsed();
      let mut dd=DCtx::create(); let mut r=vec![0u8;n];
      let ok = dd.decompress_using_dict(&mut r[..], &out[..l], &base).is_ok() && r==raw;
      println!("{name} L{level}: fresh {f} usingDict {d} {td:?} prefix {p} {tp:?} prefix+ldm {l} {tl:?} {ok}");
    }
  }
  println!("--- cases");
  let cases: Vec<(&str, Vec<u8>, Vec<u8>)> = vec![
    ("same text300K", text(1,300_000), text(1,300_000)),
    ("edit100@150000", { let mut t=text(1,300_000); t[150_000..150_100].copy_from_slice(&noise(1,100)); t }, text(1,300_000)),
    ("insert 1 byte front", { let mut t=text(1,300_000); t.insert(0,1); t }, text(1,300_000)),
    ("noise zeros", { let mut t=noise(1,1<<20); t[5000..5100].fill(0); t }, noise(1,1<<20)),
    ("shift by 4096 noise", { let mut t=noise(3,4096); t.extend_from_slice(&noise(1,(1<<20)-4096)); t }, noise(1,1<<20)),
    ("1 byte per 8K noise", { let mut t=noise(1,1<<20); for i in (0..1<<20).step_by(8192) { t[i+100]^=1; } t }, noise(1,1<<20)),
    ("30 bytes per 8K text", { let mut t=text(1,1<<20); for i in (0..1<<20).step_by(8192) { let n=noise(i as u64,30); t[i+100..i+130].copy_from_slice(&n); } t }, text(1,1<<20)),
    ("30 bytes per 1K text", { let mut t=text(1,1<<20); for i in (0..1<<20).step_by(1024) { let n=noise(i as u64,30); t[i+100..i+130].copy_from_slice(&n); } t }, text(1,1<<20)),
    ("30 bytes per 200 text 256K", { let mut t=text(1,1<<18); for i in (0..(1<<18)-200).step_by(200) { let n=noise(i as u64,30); t[i+100..i+130].copy_from_slice(&n); } t }, text(1,1<<18)),
  ];
  for (name, raw, base) in cases {
    let n=raw.len(); let mut out = vec![0u8; compress_bound(n)];
    for level in [1,3,6,9] {
      let mut c = CCtx::create();
      let f = c.compress(&mut out[..], &raw, level).unwrap();
      let t=std::time::Instant::now();
      let d = c.compress_using_dict(&mut out[..], &raw, &base, level).unwrap();
      let td=t.elapsed();
      let mut line=format!("{name} L{level}: fresh {f} usingDict {d} {td:?}");
      for (mm, hr) in [(0,0),(32,0),(32,3),(32,4),(64,4)] {
        let mut c2 = CCtx::create();
        c2.set_parameter(CParameter::CompressionLevel(level)).unwrap();
        c2.set_parameter(CParameter::EnableLongDistanceMatching(true)).unwrap();
        c2.set_parameter(CParameter::WindowLog(22)).unwrap();
        if mm>0 {c2.set_parameter(CParameter::LdmMinMatch(mm)).unwrap();}
        if hr>0 {c2.set_parameter(CParameter::LdmHashRateLog(hr)).unwrap();}
        c2.ref_prefix(&base).unwrap();
        let _ = c2.compress2(&mut out[..], &raw).unwrap();
        c2.ref_prefix(&base).unwrap();
        let t=std::time::Instant::now();
        let l = c2.compress2(&mut out[..], &raw).unwrap();
        line+=&format!(" | {mm}/{hr} {l} {:?}", t.elapsed());
      }
      println!("{line}");
    }
  }
}
