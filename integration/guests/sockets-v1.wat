;; WasmEdge's socket functions as they were first (V1), over TCP between two sockets of its own, then over version 6:
;; leaves with the number of the step that did not give what it must, 1 and up, or with 0.
(module
  (import "wasi_snapshot_preview1" "sock_open" (func $open (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_bind" (func $bind (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_listen" (func $listen (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_connect" (func $connect (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv" (func $recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send" (func $send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_shutdown" (func $shutdown (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_getlocaladdr" (func $local (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_getpeeraddr" (func $peer (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $status (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_set_flags" (func $set_flags (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_get" (func $file_status (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  ;; Addresses: pointer and length of 127.0.0.1 (at 32), of a buffer of 16 bytes (at 48), of ::1 (at 72).
  (data (i32.const 0) "\20\00\00\00\04\00\00\00" "\30\00\00\00\10\00\00\00")
  (data (i32.const 88) "\48\00\00\00\10\00\00\00")
  (data (i32.const 32) "\7f\00\00\01")
  (data (i32.const 87) "\01")
  ;; Buffers: "ping" (at 64), 64 bytes (at 512), and at 256 two of 2 and 4 bytes (at 600).
  (data (i32.const 16) "\40\00\00\00\04\00\00\00" "\00\02\00\00\40\00\00\00")
  (data (i32.const 64) "ping")
  (data (i32.const 256) "\58\02\00\00\02\00\00\00" "\5a\02\00\00\04\00\00\00")
  ;; Results: type of an address at 104, port at 108, length at 112, flags at 116, descriptor at 120, status at 128.
  (global $step (mut i32) (i32.const 0))

  (func $is (param $got i32) (param $wanted i32)
    (global.set $step (i32.add (global.get $step) (i32.const 1)))
    (if (i32.ne (local.get $got) (local.get $wanted)) (then (call $proc_exit (global.get $step)))))

  (func $opened (param $family i32) (result i32)
    (call $is (call $open (local.get $family) (i32.const 2) (i32.const 120)) (i32.const 0))
    (i32.load (i32.const 120)))

  (func $accepted (param $listener i32) (result i32)
    (call $is (call $accept (local.get $listener) (i32.const 120)) (i32.const 0))
    (i32.load (i32.const 120)))

  (func $port_of (param $socket i32) (result i32)
    (call $is (call $local (local.get $socket) (i32.const 8) (i32.const 104) (i32.const 108)) (i32.const 0))
    (i32.load (i32.const 108)))

  ;; Receives with the flags, and sees how much comes.
  (func $receives (param $socket i32) (param $vectors i32) (param $count i32) (param $flags i32) (param $length i32)
    (i32.store16 (i32.const 116) (i32.const 9))
    (call $is
      (call $recv (local.get $socket) (local.get $vectors) (local.get $count) (local.get $flags) (i32.const 112) (i32.const 116))
      (i32.const 0))
    (call $is (i32.load (i32.const 112)) (local.get $length))
    (call $is (i32.load16_u (i32.const 116)) (i32.const 0)))

  (func $sends (param $socket i32)
    (call $is (call $send (local.get $socket) (i32.const 16) (i32.const 1) (i32.const 0) (i32.const 112)) (i32.const 0))
    (call $is (i32.load (i32.const 112)) (i32.const 4)))

  (func (export "_start")
    (local $listener i32) (local $client i32) (local $server i32) (local $port i32)
    ;; 1 to 9: a listener on 127.0.0.1, and what it says of itself.
    (local.set $listener (call $opened (i32.const 1)))
    (call $is (call $bind (local.get $listener) (i32.const 0) (i32.const 0)) (i32.const 0))
    (call $is (call $listen (local.get $listener) (i32.const 5)) (i32.const 0))
    (local.set $port (call $port_of (local.get $listener)))
    (call $is (i32.load (i32.const 104)) (i32.const 4))
    (call $is (i32.load (i32.const 48)) (i32.const 0x0100007f))
    (call $is (i32.gt_u (local.get $port) (i32.const 1023)) (i32.const 1))
    (call $is (call $peer (local.get $listener) (i32.const 8) (i32.const 104) (i32.const 108)) (i32.const 53)) ;; NOTCONN
    (call $is (call $accept (local.get $listener) (i32.const 0xfffffffe)) (i32.const 21)) ;; FAULT
    ;; 10 to 15: a connection, whose ends know each other.
    (local.set $client (call $opened (i32.const 1)))
    (call $is (call $connect (local.get $client) (i32.const 0) (local.get $port)) (i32.const 0))
    (local.set $server (call $accepted (local.get $listener)))
    (call $is (call $peer (local.get $client) (i32.const 8) (i32.const 104) (i32.const 108)) (i32.const 0))
    (call $is (i32.load (i32.const 108)) (local.get $port))
    (call $is (i32.eq (local.get $client) (local.get $server)) (i32.const 0))
    ;; 16 to 33: four bytes each way; first only looked at, then in two buffers that are waited for until full.
    (call $sends (local.get $client))
    (call $receives (local.get $server) (i32.const 24) (i32.const 1) (i32.const 1) (i32.const 4)) ;; PEEK
    (call $is (i32.load (i32.const 512)) (i32.const 0x676e6970))
    (call $sends (local.get $client))
    (call $receives (local.get $server) (i32.const 256) (i32.const 2) (i32.const 2) (i32.const 6)) ;; WAITALL
    (call $is (i32.load (i32.const 600)) (i32.const 0x676e6970))
    (call $receives (local.get $server) (i32.const 24) (i32.const 1) (i32.const 0) (i32.const 2))
    (call $is (call $write (local.get $server) (i32.const 16) (i32.const 1) (i32.const 112)) (i32.const 0))
    ;; 34 and 35: the same by preview 1's own functions.
    (call $is (call $read (local.get $client) (i32.const 24) (i32.const 1) (i32.const 112)) (i32.const 0))
    (call $is (i32.load (i32.const 112)) (i32.const 4))
    ;; 36 to 46: descriptors as preview 1 describes them, and waiting or not.
    (call $is (call $status (local.get $client) (i32.const 128)) (i32.const 0))
    (call $is (i32.load8_u (i32.const 128)) (i32.const 6)) ;; a stream
    (call $is (i32.load16_u (i32.const 130)) (i32.const 0))
    (call $is (i32.and (i32.load (i32.const 136)) (i32.const 0x42)) (i32.const 0x42)) ;; reading and writing
    (call $is (call $set_flags (local.get $client) (i32.const 4)) (i32.const 0))
    (call $is (call $status (local.get $client) (i32.const 128)) (i32.const 0))
    (call $is (i32.load16_u (i32.const 130)) (i32.const 4))
    (call $is (call $read (local.get $client) (i32.const 24) (i32.const 1) (i32.const 112)) (i32.const 6)) ;; AGAIN
    (call $is (call $set_flags (local.get $client) (i32.const 1)) (i32.const 28)) ;; APPEND is INVAL
    (call $is (call $file_status (local.get $client) (i32.const 128)) (i32.const 0))
    (call $is (i32.load8_u (i32.const 144)) (i32.const 6))
    ;; 47 to 53: the end.
    (call $is (call $shutdown (local.get $server) (i32.const 0)) (i32.const 28))
    (call $is (call $shutdown (local.get $server) (i32.const 4)) (i32.const 28))
    (call $is (call $shutdown (local.get $server) (i32.const 2)) (i32.const 0))
    (call $receives (local.get $client) (i32.const 24) (i32.const 1) (i32.const 0) (i32.const 0))
    (call $is (call $close (local.get $client)) (i32.const 0))
    ;; 54 to 60: what is closed is gone; its number is the next to be given, and standard output is no socket.
    (call $is (call $close (local.get $client)) (i32.const 8)) ;; BADF
    (call $is (call $send (local.get $client) (i32.const 16) (i32.const 1) (i32.const 0) (i32.const 112)) (i32.const 8))
    (call $is (call $listen (local.get $client) (i32.const 1)) (i32.const 8))
    (call $is (call $listen (i32.const 1) (i32.const 1)) (i32.const 57)) ;; NOTSOCK
    (call $is (call $send (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 0) (i32.const 112)) (i32.const 57))
    (call $is (call $opened (i32.const 1)) (local.get $client))
    ;; 61 to 64: addresses of other lengths are none, and families and kinds are few.
    (i32.store (i32.const 4) (i32.const 128))
    (call $is (call $bind (local.get $client) (i32.const 0) (i32.const 0)) (i32.const 28))
    (call $is (call $open (i32.const 4) (i32.const 2) (i32.const 120)) (i32.const 28))
    (call $is (call $open (i32.const 1) (i32.const 3) (i32.const 120)) (i32.const 28))
    (call $is (call $open (i32.const 0) (i32.const 2) (i32.const 120)) (i32.const 28))
    ;; 65 and on: version 6.
    (local.set $listener (call $opened (i32.const 2)))
    (call $is (call $bind (local.get $listener) (i32.const 88) (i32.const 0)) (i32.const 0))
    (call $is (call $listen (local.get $listener) (i32.const 5)) (i32.const 0))
    (local.set $port (call $port_of (local.get $listener)))
    (call $is (i32.load (i32.const 104)) (i32.const 6))
    (call $is (i32.load8_u (i32.const 63)) (i32.const 1))
    (local.set $client (call $opened (i32.const 2)))
    (call $is (call $connect (local.get $client) (i32.const 88) (local.get $port)) (i32.const 0))
    (local.set $server (call $accepted (local.get $listener)))
    (call $sends (local.get $server))
    (call $receives (local.get $client) (i32.const 24) (i32.const 1) (i32.const 0) (i32.const 4))
    (i32.store (i32.const 12) (i32.const 4))
    (call $is (call $local (local.get $client) (i32.const 8) (i32.const 104) (i32.const 108)) (i32.const 48)))) ;; NOMEM
