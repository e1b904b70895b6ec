;; Unix sockets in /tmp of its own root, and those that it must not have: leaves with the number of the step that did
;; not give what it must, 1 and up, or with 0.
(module
  (import "wasi_snapshot_preview1" "sock_open" (func $open (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_bind" (func $bind_v1 (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_bind_v2" (func $bind (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_listen" (func $listen (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_connect_v2" (func $connect (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv" (func $recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv_from_v2" (func $recv_from (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send" (func $send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send_to_v2" (func $send_to (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_getlocaladdr" (func $local_v1 (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_getlocaladdr_v2" (func $local (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_getpeeraddr_v2" (func $peer (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_get" (func $status (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  ;; Addresses: of 128 bytes at 256, to give, and at 512, to be given; of 16 bytes at 512.
  (data (i32.const 0) "\00\01\00\00\80\00\00\00" "\00\02\00\00\80\00\00\00" "\00\02\00\00\10\00\00\00")
  ;; Buffers: "ping" (at 48), 64 bytes (at 700).
  (data (i32.const 24) "\30\00\00\00\04\00\00\00" "\bc\02\00\00\40\00\00\00")
  (data (i32.const 48) "ping")
  ;; Results: type at 104, port at 108, length at 112, flags at 116, descriptor at 120.
  (data (i32.const 1000) "/tmp/stream.sock")
  (data (i32.const 1020) "/tmp/a.sock")
  (data (i32.const 1040) "/tmp/b.sock")
  (data (i32.const 1060) "/tmp/none.sock")
  (data (i32.const 1080) "\00abstract")
  (global $step (mut i32) (i32.const 0))

  (func $is (param $got i32) (param $wanted i32)
    (global.set $step (i32.add (global.get $step) (i32.const 1)))
    (if (i32.ne (local.get $got) (local.get $wanted)) (then (call $proc_exit (global.get $step)))))

  (func $opened (param $kind i32) (result i32)
    (call $is (call $open (i32.const 3) (local.get $kind) (i32.const 120)) (i32.const 0))
    (i32.load (i32.const 120)))

  ;; Puts a path into the address to give, whose pointer it returns.
  (func $path (param $text i32) (param $length i32) (result i32)
    (memory.fill (i32.const 256) (i32.const 0) (i32.const 128))
    (i32.store8 (i32.const 256) (i32.const 3))
    (memory.copy (i32.const 258) (local.get $text) (local.get $length))
    (i32.const 0))

  (func $receives (param $socket i32)
    (i32.store (i32.const 700) (i32.const 0))
    (call $is (call $recv (local.get $socket) (i32.const 32) (i32.const 1) (i32.const 0) (i32.const 112) (i32.const 116)) (i32.const 0))
    (call $is (i32.load (i32.const 112)) (i32.const 4))
    (call $is (i32.load (i32.const 700)) (i32.const 0x676e6970)))

  (func (export "_start")
    (local $listener i32) (local $client i32) (local $server i32) (local $one i32) (local $other i32)
    ;; 1 to 7: a listener, whose address is its path.
    (local.set $listener (call $opened (i32.const 2)))
    (call $is (call $bind (local.get $listener) (call $path (i32.const 1000) (i32.const 16)) (i32.const 0)) (i32.const 0))
    (call $is (call $listen (local.get $listener) (i32.const 5)) (i32.const 0))
    (memory.fill (i32.const 512) (i32.const 7) (i32.const 128))
    (call $is (call $local (local.get $listener) (i32.const 8) (i32.const 108)) (i32.const 0))
    (call $is (i32.load16_u (i32.const 512)) (i32.const 3))
    (call $is (i32.load (i32.const 526)) (i32.const 0x6b636f73)) ;; "sock"
    (call $is (i32.load (i32.const 530)) (i32.const 0))
    ;; 8 to 19: a connection. The client has no path.
    (local.set $client (call $opened (i32.const 2)))
    (call $is (call $connect (local.get $client) (i32.const 0) (i32.const 0)) (i32.const 0))
    (call $is (call $accept (local.get $listener) (i32.const 120)) (i32.const 0))
    (local.set $server (i32.load (i32.const 120)))
    (call $is (call $send (local.get $client) (i32.const 24) (i32.const 1) (i32.const 0) (i32.const 112)) (i32.const 0))
    (call $receives (local.get $server))
    (call $is (call $peer (local.get $server) (i32.const 8) (i32.const 108)) (i32.const 0))
    (call $is (i32.load (i32.const 512)) (i32.const 3))
    (call $is (call $peer (local.get $client) (i32.const 8) (i32.const 108)) (i32.const 0))
    (call $is (i32.load (i32.const 526)) (i32.const 0x6b636f73))
    (call $is (i32.load (i32.const 108)) (i32.const 0))
    ;; 20 to 24: V1 has no room for paths; a path can be had once.
    (call $is (call $local_v1 (local.get $listener) (i32.const 16) (i32.const 104) (i32.const 108)) (i32.const 48))
    (call $is (call $bind_v1 (call $opened (i32.const 2)) (i32.const 0) (i32.const 0)) (i32.const 28))
    (call $is (call $bind (call $opened (i32.const 2)) (call $path (i32.const 1000) (i32.const 16)) (i32.const 0)) (i32.const 3))
    ;; 25 to 34: datagrams, with the sender's path.
    (local.set $one (call $opened (i32.const 1)))
    (call $is (call $bind (local.get $one) (call $path (i32.const 1020) (i32.const 11)) (i32.const 0)) (i32.const 0))
    (local.set $other (call $opened (i32.const 1)))
    (call $is (call $bind (local.get $other) (call $path (i32.const 1040) (i32.const 11)) (i32.const 0)) (i32.const 0))
    (call $is
      (call $send_to (local.get $one) (i32.const 24) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 112))
      (i32.const 0))
    (i32.store (i32.const 108) (i32.const -1))
    (call $is
      (call $recv_from (local.get $other) (i32.const 32) (i32.const 1) (i32.const 8) (i32.const 0) (i32.const 108) (i32.const 112) (i32.const 116))
      (i32.const 0))
    (call $is (i32.load16_u (i32.const 512)) (i32.const 3))
    (call $is (i32.load (i32.const 518)) (i32.const 0x732e612f)) ;; "/a.s"
    (call $is (i32.load (i32.const 700)) (i32.const 0x676e6970))
    (call $is (i32.load16_u (i32.const 108)) (i32.const 0))
    ;; 35 and on: paths that are not there, of no file system, none at all, too long, and there no more.
    (local.set $client (call $opened (i32.const 2)))
    (call $is (call $connect (local.get $client) (call $path (i32.const 1060) (i32.const 14)) (i32.const 0)) (i32.const 44))
    (call $is (call $connect (local.get $client) (call $path (i32.const 1080) (i32.const 9)) (i32.const 0)) (i32.const 2))
    (call $is (call $bind (local.get $client) (call $path (i32.const 1080) (i32.const 9)) (i32.const 0)) (i32.const 2))
    (call $is (call $bind (local.get $client) (call $path (i32.const 1000) (i32.const 0)) (i32.const 0)) (i32.const 2))
    (memory.fill (i32.const 258) (i32.const 120) (i32.const 126))
    (call $is (call $bind (local.get $client) (i32.const 0) (i32.const 0)) (i32.const 37))
    (call $is (call $status (i32.const 3) (i32.const 0) (i32.const 1001) (i32.const 15) (i32.const 800)) (i32.const 0))
    (call $is (call $unlink (i32.const 3) (i32.const 1001) (i32.const 15)) (i32.const 0))
    (call $is (call $status (i32.const 3) (i32.const 0) (i32.const 1001) (i32.const 15) (i32.const 800)) (i32.const 44))
    (call $is (call $connect (local.get $client) (call $path (i32.const 1000) (i32.const 16)) (i32.const 0)) (i32.const 44))))
