;; A component: a command of WASI 0.2 that fails if random numbers of WASI 0.2 or 0.3 come twice.
(component
  (import "wasi:random/random@0.2.0" (instance $random_02
    (export "get-random-u64" (func (result u64)))))
  (import "wasi:random/insecure@0.2.0" (instance $insecure_02
    (export "get-insecure-random-u64" (func (result u64)))))
  (import "wasi:random/random@0.3.0" (instance $random_03
    (export "get-random-u64" (func (result u64)))))
  (import "wasi:random/insecure@0.3.0" (instance $insecure_03
    (export "get-insecure-random-u64" (func (result u64)))))
  (core func $a (canon lower (func $random_02 "get-random-u64")))
  (core func $b (canon lower (func $insecure_02 "get-insecure-random-u64")))
  (core func $c (canon lower (func $random_03 "get-random-u64")))
  (core func $d (canon lower (func $insecure_03 "get-insecure-random-u64")))
  (core module $program
    (import "host" "a" (func $a (result i64)))
    (import "host" "b" (func $b (result i64)))
    (import "host" "c" (func $c (result i64)))
    (import "host" "d" (func $d (result i64)))
    ;; 0 is success, 1 is failure.
    (func (export "run") (result i32)
      (i64.eq (call $a) (call $a))
      (i64.eq (call $b) (call $b))
      (i64.eq (call $c) (call $c))
      (i64.eq (call $d) (call $d))
      i32.or
      i32.or
      i32.or))
  (core instance $instance (instantiate $program (with "host" (instance
    (export "a" (func $a))
    (export "b" (func $b))
    (export "c" (func $c))
    (export "d" (func $d))))))
  (func $run (result (result)) (canon lift (core func $instance "run")))
  (instance $run_interface (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $run_interface)))
