;; Looks up names. /etc/hosts must have names.test with 192.0.2.7 and 2001:db8::7. Leaves with the number of the step
;; that did not give what it must, 1 and up, or with 0.
(module
  (import "wasi_snapshot_preview1" "sock_getaddrinfo"
    (func $getaddrinfo (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  ;; Names; some are given with the NUL at their end, as guests' libraries do.
  (data (i32.const 16) "names.test\00")
  (data (i32.const 32) "80\00")
  (data (i32.const 36) "http")
  (data (i32.const 40) "nonsense")
  (data (i32.const 48) "127.0.0.1")
  ;; Hints at 64. The list's head at 100, and how many were found at 104. Three entries at 1024, their addresses at
  ;; 1200, the bytes of these at 1300, names at 1400.
  (global $step (mut i32) (i32.const 0))

  (func $is (param $got i32) (param $wanted i32)
    (global.set $step (i32.add (global.get $step) (i32.const 1)))
    (if (i32.ne (local.get $got) (local.get $wanted)) (then (call $proc_exit (global.get $step)))))

  (func $hint (param $flags i32) (param $family i32) (param $kind i32) (param $protocol i32)
    (memory.fill (i32.const 64) (i32.const 0) (i32.const 28))
    (i32.store16 (i32.const 64) (local.get $flags))
    (i32.store8 (i32.const 66) (local.get $family))
    (i32.store8 (i32.const 67) (local.get $kind))
    (i32.store8 (i32.const 68) (local.get $protocol)))

  ;; Where an entry is, and where the bytes of its address.
  (func $entry (param $number i32) (result i32)
    (i32.add (i32.const 1024) (i32.mul (local.get $number) (i32.const 28))))
  (func $bytes (param $number i32) (result i32)
    (i32.add (i32.const 1300) (i32.mul (local.get $number) (i32.const 26))))

  ;; A new list of three entries.
  (func $list
    (local $number i32) (local $at i32) (local $address i32)
    (memory.fill (i32.const 1024) (i32.const 0) (i32.const 512))
    (i32.store (i32.const 100) (i32.const 1024))
    (i32.store (i32.const 104) (i32.const -1))
    (loop $next
      (local.set $at (call $entry (local.get $number)))
      (local.set $address (i32.add (i32.const 1200) (i32.mul (local.get $number) (i32.const 12))))
      (i32.store offset=12 (local.get $at) (local.get $address))
      (i32.store offset=8 (local.get $address) (call $bytes (local.get $number)))
      (i32.store offset=16 (local.get $at) (i32.add (i32.const 1400) (i32.mul (local.get $number) (i32.const 32))))
      (local.set $number (i32.add (local.get $number) (i32.const 1)))
      (if (i32.lt_u (local.get $number) (i32.const 3))
        (then (i32.store offset=24 (local.get $at) (call $entry (local.get $number)))))
      (br_if $next (i32.lt_u (local.get $number) (i32.const 3)))))

  (func $ask (param $name i32) (param $length i32) (param $service i32) (param $service_length i32) (param $most i32) (result i32)
    (call $getaddrinfo
      (local.get $name) (local.get $length) (local.get $service) (local.get $service_length)
      (i32.const 64) (i32.const 100) (local.get $most) (i32.const 104)))

  ;; Sees that names.test is found so many times: two steps.
  (func $finds (param $count i32)
    (call $is (call $ask (i32.const 16) (i32.const 11) (i32.const 32) (i32.const 3) (i32.const 3)) (i32.const 0))
    (call $is (i32.load (i32.const 104)) (local.get $count)))

  (func (export "_start")
    ;; 1 to 10: one of version 4.
    (call $list)
    (call $hint (i32.const 0) (i32.const 1) (i32.const 2) (i32.const 1))
    (call $finds (i32.const 1))
    (call $is (i32.load8_u (i32.const 1026)) (i32.const 1))
    (call $is (i32.load8_u (i32.const 1027)) (i32.const 2))
    (call $is (i32.load8_u (i32.const 1028)) (i32.const 1))
    (call $is (i32.load (i32.const 1032)) (i32.const 16))
    (call $is (i32.load8_u (i32.const 1200)) (i32.const 1))
    (call $is (i32.load (i32.const 1204)) (i32.const 14))
    (call $is (i32.load (i32.const 1300)) (i32.const 0x00c05000))
    (call $is (i32.load16_u (i32.const 1304)) (i32.const 0x0702))
    ;; 11 to 17: one of version 6.
    (call $list)
    (call $hint (i32.const 0) (i32.const 2) (i32.const 1) (i32.const 2))
    (call $finds (i32.const 1))
    (call $is (i32.load (i32.const 1032)) (i32.const 28))
    (call $is (i32.load (i32.const 1204)) (i32.const 26))
    (call $is (i32.load16_u (i32.const 1300)) (i32.const 0x5000))
    (call $is (i32.load (i32.const 1306)) (i32.const 0xb80d0120))
    (call $is (i32.load8_u (i32.const 1321)) (i32.const 7))
    ;; 18 to 25: of either version; both kinds; no more than there is room for, and no more entries than there are.
    (call $list)
    (call $hint (i32.const 0) (i32.const 0) (i32.const 2) (i32.const 0))
    (call $is (call $ask (i32.const 16) (i32.const 10) (i32.const 32) (i32.const 2) (i32.const 3)) (i32.const 0))
    (call $is (i32.eqz (i32.load (i32.const 104))) (i32.const 0))
    (call $list)
    (call $hint (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0))
    (call $finds (i32.const 2))
    (call $is (call $ask (i32.const 16) (i32.const 10) (i32.const 32) (i32.const 2) (i32.const 1)) (i32.const 0))
    (call $is (i32.load (i32.const 104)) (i32.const 1))
    (i32.store (i32.const 1048) (i32.const 0))
    (call $finds (i32.const 1))
    ;; 26 to 30: a service by its name, with nothing and with a number for a name.
    (call $list)
    (call $hint (i32.const 1) (i32.const 1) (i32.const 2) (i32.const 0)) ;; PASSIVE
    (call $is (call $ask (i32.const 0) (i32.const 0) (i32.const 36) (i32.const 4) (i32.const 3)) (i32.const 0))
    (call $is (i32.load (i32.const 1300)) (i32.const 0x00005000))
    (call $hint (i32.const 4) (i32.const 1) (i32.const 2) (i32.const 0)) ;; NUMERICHOST
    (call $is (call $ask (i32.const 48) (i32.const 9) (i32.const 36) (i32.const 4) (i32.const 3)) (i32.const 0))
    (call $is (i32.load (i32.const 1300)) (i32.const 0x007f5000))
    (call $is (call $ask (i32.const 16) (i32.const 10) (i32.const 36) (i32.const 4) (i32.const 3)) (i32.const 84)) ;; NONAME
    ;; 31 to 34: the full name.
    (call $list)
    (call $hint (i32.const 2) (i32.const 1) (i32.const 2) (i32.const 0)) ;; CANONNAME
    (call $finds (i32.const 1))
    (call $is (i32.load (i32.const 1044)) (i32.const 10))
    (call $is (i32.load (i32.const 1400)) (i32.const 0x656d616e))
    ;; 35 and on: what is wrong.
    (call $is (call $ask (i32.const 0) (i32.const 0) (i32.const 36) (i32.const 4) (i32.const 3)) (i32.const 79)) ;; BADFLAG
    (call $hint (i32.const 0) (i32.const 1) (i32.const 2) (i32.const 0))
    (call $is (call $ask (i32.const 48) (i32.const 9) (i32.const 40) (i32.const 8) (i32.const 3)) (i32.const 85)) ;; SERVICE
    (call $is (call $ask (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 3)) (i32.const 84))
    (call $is (call $ask (i32.const 48) (i32.const 9) (i32.const 36) (i32.const 4) (i32.const 0)) (i32.const 82)) ;; MEMORY
    (call $hint (i32.const 128) (i32.const 1) (i32.const 2) (i32.const 0))
    (call $is (call $ask (i32.const 48) (i32.const 9) (i32.const 36) (i32.const 4) (i32.const 3)) (i32.const 79))
    (call $hint (i32.const 0) (i32.const 3) (i32.const 2) (i32.const 0))
    (call $is (call $ask (i32.const 48) (i32.const 9) (i32.const 36) (i32.const 4) (i32.const 3)) (i32.const 81)) ;; FAMILY
    (call $hint (i32.const 0) (i32.const 1) (i32.const 2) (i32.const 0))
    (i32.store (i32.const 100) (i32.const 65530))
    (call $is (call $ask (i32.const 48) (i32.const 9) (i32.const 36) (i32.const 4) (i32.const 3)) (i32.const 21))
    (call $list)
    (i32.store (i32.const 1036) (i32.const -4))
    (call $is (call $ask (i32.const 48) (i32.const 9) (i32.const 36) (i32.const 4) (i32.const 3)) (i32.const 21))
    (call $is (call $ask (i32.const 48) (i32.const -1) (i32.const 36) (i32.const 4) (i32.const 3)) (i32.const 21))))
