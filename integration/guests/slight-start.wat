;; A SpiderLightning application that is a program: sets a key of the store `store`, reads it again and prints it.
(module
  (import "kv" "kv::open" (func $open (param i32 i32 i32)))
  (import "kv" "kv::get" (func $get (param i32 i32 i32 i32)))
  (import "kv" "kv::set" (func $set (param i32 i32 i32 i32 i32 i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 512) "store")
  (data (i32.const 520) "key")
  (data (i32.const 528) "the value\n")

  ;; It is asked for room once.
  (func (export "canonical_abi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))

  ;; Prints the text at 32, and leaves with the code where it is not 0.
  (func $print (param $code i32)
    (drop (call $fd_write (i32.const 1) (i32.const 32) (i32.const 1) (i32.const 40)))
    (if (local.get $code) (then (call $proc_exit (local.get $code)))))

  ;; Ends with the host's error, and 10 more than its case, where there is one.
  (func $check
    (if (i32.load8_u (i32.const 0))
      (then
        (i64.store (i32.const 32) (i64.load (i32.const 8)))
        (call $print (i32.add (i32.const 10) (i32.load8_u (i32.const 4)))))))

  (func (export "_start")
    (local $store i32)
    (call $open (i32.const 512) (i32.const 5) (i32.const 0))
    (call $check)
    (local.set $store (i32.load (i32.const 4)))
    (call $set (local.get $store) (i32.const 520) (i32.const 3) (i32.const 528) (i32.const 10) (i32.const 0))
    (call $check)
    (call $get (local.get $store) (i32.const 520) (i32.const 3) (i32.const 0))
    (call $check)
    (i64.store (i32.const 32) (i64.load (i32.const 4)))
    (call $print (i32.const 0))))
