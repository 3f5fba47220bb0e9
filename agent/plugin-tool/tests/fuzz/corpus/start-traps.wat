;; ends: Trapped
;; Breaks before it is asked anything.
(module
  (memory (export "memory") 2)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0x2000))
  (func (export "hostler:plugin/lifecycle@1.0.0#configure") (param i32 i32) (result i32) (i32.const 0x100))
  (func (export "cabi_post_hostler:plugin/lifecycle@1.0.0#configure") (param i32))
  (func (export "hostler:plugin/check-api@1.0.0#run") (result i32) (i32.const 0x200))
  (func (export "cabi_post_hostler:plugin/check-api@1.0.0#run") (param i32))
  (data (i32.const 0x200) "\00\00\00\00\00\00\00\00\00\03\00\00\02\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
  (data (i32.const 0x300) "ok")
  (start $start)
  (func $start unreachable)
)
