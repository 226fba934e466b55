#!/usr/bin/env python3
"""Pairs of directories A, B for `measure`: logs, pg (heap pages), uncompressed and wide (Parquet).

usage: measure_data.py DIR   (needs numpy and pyarrow; DIR is emptied)"""
import random, os, json, hashlib, shutil, sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
base=sys.argv[1]; shutil.rmtree(base,ignore_errors=True)
rng=random.Random(5); n=np.random.default_rng(5)
# logs: JSON lines; B = appended + rotated start removed + 20 random lines edited
def line(i): return json.dumps(dict(ts=1700000000+i*3,level=rng.choice(['info','warn','debug']),req=hashlib.md5(str(i).encode()).hexdigest(),path='/api/v1/'+rng.choice(['users','orders','items'])+'/%d'%rng.randrange(100000),ms=rng.randrange(2000),msg=' '.join(rng.choice(['cache','miss','hit','retry','timeout','ok','slow','db']) for _ in range(6))))
L=[line(i) for i in range(260000)]
for s in 'AB': os.makedirs(f'{base}/logs/{s}')
open(f'{base}/logs/A/app.log','w').write('\n'.join(L[:240000])+'\n')
M=list(L[1000:250000])
for _ in range(100): M[rng.randrange(len(M))]=line(rng.randrange(10**6))
open(f'{base}/logs/B/app.log','w').write('\n'.join(M)+'\n')
# postgres-like heap: 3 files base/5/N of 32 MiB of 8K pages w text tuples; B= 300 random pages touched
def page(r):
    rows=b''.join(b'\x00'*24+r.integers(0,10**6,1,dtype='<u4').tobytes()+('account %08d branch %03d filler '%(r.integers(0,10**8),r.integers(0,999))).encode().ljust(92) for _ in range(60))
    up=8192-len(rows); hdr=r.bytes(8)+b'\0\0\0\0'+(264).to_bytes(2,'little')+up.to_bytes(2,'little')+(8192).to_bytes(2,'little')+(0x2004).to_bytes(2,'little')+b'\0'*4
    return hdr+b'\0'*(up-24)+rows
for s in 'AB': os.makedirs(f'{base}/pg/{s}/base/5')
for f in range(3):
    P=[page(n) for _ in range(4096)]
    open(f'{base}/pg/A/base/5/{16384+f}','wb').write(b''.join(P))
    for _ in range(100):
        k=int(n.integers(0,4096)); P[k]=n.bytes(8)+P[k][8:5000]+n.bytes(16)+P[k][5016:]
    open(f'{base}/pg/B/base/5/{16384+f}','wb').write(b''.join(P))
# uncompressed parquet + wide parquet with tiny column chunks
N=600000
t=pa.table({'id':np.arange(N),'v':n.integers(0,10**9,N),'s':['name %d'%x for x in n.integers(0,10**7,N)]})
for s,x in (('A',t),('B',pa.concat_tables([t.slice(0,N//2),t.slice(N//2+6000)]))):
    os.makedirs(f'{base}/uncompressed/{s}'); pq.write_table(x,f'{base}/uncompressed/{s}/t.parquet',compression='none',use_dictionary=False)
w=pa.table({f'c{i}':n.integers(0,50+i,200000) for i in range(300)})
for s,x in (('A',w),('B',pa.concat_tables([w.slice(0,100000),w.slice(102000)]))):
    os.makedirs(f'{base}/wide/{s}'); pq.write_table(x,f'{base}/wide/{s}/t.parquet',compression='zstd',row_group_size=5000)
