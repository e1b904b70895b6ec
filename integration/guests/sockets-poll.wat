;; Polls of sockets together with streams, files and clocks. To be given something on its standard input. Leaves with
;; the number of the step that did not give what it must, 1 and up, or with 0.
(module
  (import "wasi_snapshot_preview1" "sock_open" (func $open (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_bind" (func $bind (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send_to" (func $send_to (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_getlocaladdr" (func $local (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "epoll_oneoff" (func $epoll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  ;; Addresses: 127.0.0.1 (at 32) and a buffer of 16 bytes (at 48). A buffer: "datagram" (at 72). A path at 80.
  (data (i32.const 0) "\20\00\00\00\04\00\00\00" "\30\00\00\00\10\00\00\00" "\48\00\00\00\08\00\00\00")
  (data (i32.const 32) "\7f\00\00\01")
  (data (i32.const 72) "datagram" "etc/passwd")
  ;; Results: type at 104, port at 108, length at 112, descriptor at 120, count at 124, time at 128. Subscriptions at
  ;; 1024, events at 2048.
  (global $step (mut i32) (i32.const 0))
  ;; Subscriptions so far.
  (global $count (mut i32) (i32.const 0))

  (func $is (param $got i32) (param $wanted i32)
    (global.set $step (i32.add (global.get $step) (i32.const 1)))
    (if (i32.ne (local.get $got) (local.get $wanted)) (then (call $proc_exit (global.get $step)))))

  (func $bound (result i32)
    (call $is (call $open (i32.const 1) (i32.const 1) (i32.const 120)) (i32.const 0))
    (call $is (call $bind (i32.load (i32.const 120)) (i32.const 0) (i32.const 0)) (i32.const 0))
    (i32.load (i32.const 120)))

  ;; Adds a subscription; its userdata is its number, from 100.
  (func $add (param $kind i32) (param $descriptor i32) (param $timeout i64) (param $flags i32)
    (local $at i32)
    (local.set $at (i32.add (i32.const 1024) (i32.mul (global.get $count) (i32.const 48))))
    (i64.store (local.get $at) (i64.extend_i32_u (i32.add (i32.const 100) (global.get $count))))
    (i32.store8 offset=8 (local.get $at) (local.get $kind))
    (i32.store offset=16 (local.get $at) (local.get $descriptor))
    (i64.store offset=24 (local.get $at) (local.get $timeout))
    (i64.store offset=32 (local.get $at) (i64.const 0))
    (i32.store16 offset=40 (local.get $at) (local.get $flags))
    (global.set $count (i32.add (global.get $count) (i32.const 1))))

  (func $reading (param $descriptor i32)
    (call $add (i32.const 1) (local.get $descriptor) (i64.const 0) (i32.const 0)))

  (func $writing (param $descriptor i32)
    (call $add (i32.const 2) (local.get $descriptor) (i64.const 0) (i32.const 0)))

  (func $hour
    (call $add (i32.const 0) (i32.const 1) (i64.const 3600000000000) (i32.const 0)))

  ;; Polls what was added, and sees how many events there are: two steps.
  (func $polls (param $events i32)
    (memory.fill (i32.const 2048) (i32.const 0xff) (i32.const 256))
    (call $is (call $poll (i32.const 1024) (i32.const 2048) (global.get $count) (i32.const 124)) (i32.const 0))
    (call $is (i32.load (i32.const 124)) (local.get $events))
    (global.set $count (i32.const 0)))

  (func $epolls (param $events i32)
    (call $is (call $epoll (i32.const 1024) (i32.const 2048) (global.get $count) (i32.const 124)) (i32.const 0))
    (call $is (i32.load (i32.const 124)) (local.get $events)))

  ;; Sees which subscription an event is of, its error and its kind: three steps.
  (func $event (param $number i32) (param $userdata i32) (param $error i32) (param $kind i32)
    (local $at i32)
    (local.set $at (i32.add (i32.const 2048) (i32.mul (local.get $number) (i32.const 32))))
    (call $is (i32.load (local.get $at)) (local.get $userdata))
    (call $is (i32.load16_u offset=8 (local.get $at)) (local.get $error))
    (call $is (i32.load8_u offset=10 (local.get $at)) (local.get $kind)))

  (func $now (param $clock i32) (result i64)
    (call $is (call $time (local.get $clock) (i64.const 1) (i32.const 128)) (i32.const 0))
    (i64.load (i32.const 128)))

  (func (export "_start")
    (local $one i32) (local $other i32) (local $file i32)
    ;; Two sockets.
    (local.set $one (call $bound))
    (local.set $other (call $bound))
    (call $is (call $local (local.get $other) (i32.const 8) (i32.const 104) (i32.const 108)) (i32.const 0))
    ;; Nothing to read, until 20 ms are over.
    (call $reading (local.get $one))
    (call $add (i32.const 0) (i32.const 1) (i64.const 20000000) (i32.const 0))
    (call $polls (i32.const 1))
    (call $event (i32.const 0) (i32.const 101) (i32.const 0) (i32.const 0))
    ;; Room to write.
    (call $writing (local.get $one))
    (call $hour)
    (call $polls (i32.const 1))
    (call $event (i32.const 0) (i32.const 100) (i32.const 0) (i32.const 2))
    ;; A datagram of 8 bytes has come, which both who wait for it are told.
    (call $is
      (call $send_to (local.get $one) (i32.const 16) (i32.const 1) (i32.const 0) (i32.load (i32.const 108)) (i32.const 0) (i32.const 112))
      (i32.const 0))
    (call $reading (local.get $one))
    (call $reading (local.get $other))
    (call $hour)
    (call $reading (local.get $other))
    (call $polls (i32.const 2))
    (call $event (i32.const 0) (i32.const 101) (i32.const 0) (i32.const 1))
    (call $event (i32.const 1) (i32.const 103) (i32.const 0) (i32.const 1))
    (call $is (i32.load (i32.const 2064)) (i32.const 8))
    ;; Standard streams.
    (call $reading (local.get $one))
    (call $reading (i32.const 0))
    (call $hour)
    (call $polls (i32.const 1))
    (call $event (i32.const 0) (i32.const 101) (i32.const 0) (i32.const 1))
    (call $writing (i32.const 1))
    (call $reading (local.get $one))
    (call $writing (i32.const 2))
    (call $polls (i32.const 2))
    (call $event (i32.const 1) (i32.const 102) (i32.const 0) (i32.const 2))
    ;; A file is ready.
    (call $is
      (call $path_open (i32.const 3) (i32.const 0) (i32.const 80) (i32.const 10) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 120))
      (i32.const 0))
    (local.set $file (i32.load (i32.const 120)))
    (call $reading (local.get $one))
    (call $reading (local.get $file))
    (call $polls (i32.const 1))
    (call $event (i32.const 0) (i32.const 101) (i32.const 0) (i32.const 1))
    ;; What cannot be waited for is an event with an error: no descriptor, a directory, the wrong side of a
    ;; stream, a clock of the processor, a kind that is none.
    (call $reading (local.get $one))
    (call $reading (i32.const 77))
    (call $reading (i32.const 3))
    (call $reading (i32.const 1))
    (call $add (i32.const 0) (i32.const 2) (i64.const 1) (i32.const 0))
    (call $add (i32.const 9) (local.get $one) (i64.const 0) (i32.const 0))
    (call $polls (i32.const 5))
    (call $event (i32.const 0) (i32.const 101) (i32.const 8) (i32.const 1))
    (call $event (i32.const 1) (i32.const 102) (i32.const 8) (i32.const 1))
    (call $event (i32.const 2) (i32.const 103) (i32.const 8) (i32.const 1))
    (call $event (i32.const 3) (i32.const 104) (i32.const 28) (i32.const 0))
    (call $event (i32.const 4) (i32.const 105) (i32.const 28) (i32.const 9))
    (call $is (i32.load (i32.const 2080)) (i32.const 102))
    ;; Times of day and of the guest's own clock, to come and gone.
    (call $reading (local.get $one))
    (call $add (i32.const 0) (i32.const 0) (i64.add (call $now (i32.const 0)) (i64.const 20000000)) (i32.const 1))
    (call $polls (i32.const 1))
    (call $event (i32.const 0) (i32.const 101) (i32.const 0) (i32.const 0))
    (call $reading (local.get $one))
    (call $add (i32.const 0) (i32.const 1) (i64.add (call $now (i32.const 1)) (i64.const 20000000)) (i32.const 1))
    (call $polls (i32.const 1))
    (call $event (i32.const 0) (i32.const 101) (i32.const 0) (i32.const 0))
    (call $reading (local.get $one))
    (call $add (i32.const 0) (i32.const 0) (i64.const 1) (i32.const 1))
    (call $polls (i32.const 1))
    (call $is (i32.load (i32.const 2048)) (i32.const 101))
    ;; The same with epoll_oneoff; each call arms anew.
    (call $reading (local.get $other))
    (call $reading (local.get $one))
    (call $hour)
    (call $epolls (i32.const 1))
    (call $event (i32.const 0) (i32.const 100) (i32.const 0) (i32.const 1))
    (call $epolls (i32.const 1))
    (global.set $count (i32.const 0))
    (call $add (i32.const 0) (i32.const 1) (i64.const 1000000) (i32.const 0))
    (call $epolls (i32.const 1))
    ;; Without sockets, and without room for events.
    (call $polls (i32.const 1))
    (call $is (call $poll (i32.const 1024) (i32.const 2048) (i32.const 0) (i32.const 124)) (i32.const 28))
    (call $reading (local.get $other))
    (call $is (call $poll (i32.const 1024) (i32.const 65530) (i32.const 1) (i32.const 124)) (i32.const 21))
    (call $is (call $poll (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 65534)) (i32.const 21))))
