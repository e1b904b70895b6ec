;; Pointers to where it has no memory, counts beyond all measure, and more sockets than it may have: leaves with the
;; number of the step that did not give what it must, 1 and up, or with 0.
(module
  (import "wasi_snapshot_preview1" "sock_open" (func $open (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_bind" (func $bind (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_connect_v2" (func $connect (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv" (func $recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv_from" (func $recv_from (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send" (func $send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $status (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  ;; Addresses: 127.0.0.1 (at 32); one that is outside, one that goes outside, one of all the memory there could be.
  (data (i32.const 0) "\20\00\00\00\04\00\00\00" "\ff\ff\ff\ff\04\00\00\00" "\fe\ff\00\00\04\00\00\00" "\00\00\00\00\ff\ff\ff\ff")
  (data (i32.const 32) "\7f\00\00\01")
  ;; Buffers at 64: two that overlap; at 80: one that goes outside; at 88: one of all the memory there could be.
  (data (i32.const 64) "\00\04\00\00\08\00\00\00" "\07\04\00\00\08\00\00\00" "\fc\ff\00\00\08\00\00\00" "\01\00\00\00\ff\ff\ff\ff")
  ;; Results: port at 108, length at 112, flags at 116, descriptor at 120.
  (global $step (mut i32) (i32.const 0))

  (func $is (param $got i32) (param $wanted i32)
    (global.set $step (i32.add (global.get $step) (i32.const 1)))
    (if (i32.ne (local.get $got) (local.get $wanted)) (then (call $proc_exit (global.get $step)))))

  (func $receiving (param $socket i32) (param $vectors i32) (param $count i32) (result i32)
    (call $recv (local.get $socket) (local.get $vectors) (local.get $count) (i32.const 0) (i32.const 112) (i32.const 116)))

  (func $sending (param $socket i32) (param $vectors i32) (param $count i32) (result i32)
    (call $send (local.get $socket) (local.get $vectors) (local.get $count) (i32.const 0) (i32.const 112)))

  (func (export "_start")
    (local $socket i32) (local $count i32) (local $errno i32)
    ;; 1 to 8: where results would go, and addresses.
    (call $is (call $open (i32.const 1) (i32.const 1) (i32.const 0xfffffffd)) (i32.const 21))
    (call $is (call $open (i32.const 1) (i32.const 1) (i32.const 65533)) (i32.const 21))
    (call $is (call $open (i32.const 1) (i32.const 1) (i32.const 120)) (i32.const 0))
    (local.set $socket (i32.load (i32.const 120)))
    (call $is (call $bind (local.get $socket) (i32.const 8) (i32.const 0)) (i32.const 21))
    (call $is (call $bind (local.get $socket) (i32.const 16) (i32.const 0)) (i32.const 21))
    (call $is (call $bind (local.get $socket) (i32.const 65530) (i32.const 0)) (i32.const 21))
    (call $is (call $connect (local.get $socket) (i32.const 24) (i32.const 0)) (i32.const 21))
    (call $is (call $status (local.get $socket) (i32.const 65520)) (i32.const 21))
    ;; 9 to 20: buffers.
    (call $is (call $receiving (local.get $socket) (i32.const 64) (i32.const 2)) (i32.const 28)) ;; INVAL
    (call $is (call $receiving (local.get $socket) (i32.const 80) (i32.const 1)) (i32.const 21))
    (call $is (call $receiving (local.get $socket) (i32.const 88) (i32.const 1)) (i32.const 21))
    (call $is (call $receiving (local.get $socket) (i32.const 64) (i32.const 1025)) (i32.const 28))
    (call $is (call $receiving (local.get $socket) (i32.const 64) (i32.const -1)) (i32.const 28))
    (call $is (call $receiving (local.get $socket) (i32.const 65530) (i32.const 1)) (i32.const 21))
    (call $is (call $sending (local.get $socket) (i32.const 80) (i32.const 1)) (i32.const 21))
    (call $is (call $sending (local.get $socket) (i32.const 64) (i32.const 1025)) (i32.const 28))
    (call $is (call $sending (local.get $socket) (i32.const 65530) (i32.const 1)) (i32.const 21))
    (call $is (call $read (local.get $socket) (i32.const 80) (i32.const 1) (i32.const 112)) (i32.const 21))
    (call $is (call $recv (local.get $socket) (i32.const 64) (i32.const 1) (i32.const 4) (i32.const 112) (i32.const 116)) (i32.const 28))
    (call $is (call $recv (local.get $socket) (i32.const 64) (i32.const 1) (i32.const 0) (i32.const 112) (i32.const 65535)) (i32.const 21))
    ;; 21 and 22: a port's place, and a poll of a quarter of a milliard.
    (call $is
      (call $recv_from (local.get $socket) (i32.const 64) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 65535) (i32.const 112) (i32.const 116))
      (i32.const 21))
    (call $is (call $poll (i32.const 0) (i32.const 0) (i32.const 0x10000000) (i32.const 112)) (i32.const 48)) ;; NOMEM
    ;; 23 to 25: sockets until there are no more, and again one.
    (loop $more
      (local.set $errno (call $open (i32.const 1) (i32.const 1) (i32.const 120)))
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (br_if $more (i32.and (i32.eqz (local.get $errno)) (i32.lt_u (local.get $count) (i32.const 5000)))))
    (call $is (local.get $errno) (i32.const 33)) ;; MFILE
    (call $is (call $close (local.get $socket)) (i32.const 0))
    (call $is (call $open (i32.const 1) (i32.const 1) (i32.const 120)) (i32.const 0))
    (call $is (i32.load (i32.const 120)) (local.get $socket))))
