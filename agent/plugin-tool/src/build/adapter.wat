;; What C and Go expect of a system (WASI preview 1), answered within the
;; component: there are no arguments, no environment and no files, what is
;; written goes nowhere, and time and randomness come from hostler:host.
;; Nothing of it reaches the host as WASI, so a plugin can ask for nothing that
;; its grants do not name.
;;
;; An adapter has no memory of its own, and must not grow the guest's: Go takes
;; whatever lies behind its heap to be its own. Where the host wants a place to
;; answer to, 16 bytes at address 16 are borrowed and put back; calls come one
;; at a time, and no guest keeps anything there that the host reads meanwhile.
(module
  (import "env" "memory" (memory 0))
  (import "hostler:host/clock@1.0.0" "now" (func $now (param i32)))
  (import "hostler:host/clock@1.0.0" "monotonic" (func $monotonic (result i64)))
  (import "hostler:host/random@1.0.0" "bytes" (func $bytes (param i32 i32)))

  ;; Nanoseconds of clock 0, the wall's, or of any other: all of those go by the
  ;; monotonic one. Go refuses to start at a time of 0.
  (func $time (param $clock i32) (result i64)
    (local $first i64) (local $second i64) (local $result i64)
    (if (local.get $clock)
      (then (return (i64.add (call $monotonic) (i64.const 1)))))
    (local.set $first (i64.load (i32.const 16)))
    (local.set $second (i64.load (i32.const 24)))
    (call $now (i32.const 16))
    (local.set $result
      (i64.add
        (i64.mul (i64.load (i32.const 16)) (i64.const 1000000000))
        (i64.load32_u (i32.const 24))))
    (i64.store (i32.const 16) (local.get $first))
    (i64.store (i32.const 24) (local.get $second))
    (local.get $result))

  (func (export "clock_time_get") (param $clock i32) (param $precision i64) (param $to i32) (result i32)
    (i64.store (local.get $to) (call $time (local.get $clock)))
    (i32.const 0))

  (func (export "clock_res_get") (param $clock i32) (param $to i32) (result i32)
    (i64.store (local.get $to) (i64.const 1))
    (i32.const 0))

  ;; Where the bytes go that the host gives: straight to where they were wanted,
  ;; which $random_get left in the borrowed place.
  (func (export "cabi_import_realloc") (param i32 i32 i32 i32) (result i32)
    (i32.load (i32.const 24)))

  (func $random_get (export "random_get") (param $to i32) (param $length i32) (result i32)
    (local $first i64) (local $second i64) (local $count i32)
    (local.set $first (i64.load (i32.const 16)))
    (local.set $second (i64.load (i32.const 24)))
    (block $done
      (loop $more
        (br_if $done (i32.eqz (local.get $length)))
        ;; As many as the host gives at once.
        (local.set $count
          (select (local.get $length) (i32.const 4096) (i32.lt_u (local.get $length) (i32.const 4096))))
        (i32.store (i32.const 24) (local.get $to))
        (call $bytes (local.get $count) (i32.const 16))
        (local.set $count (i32.load (i32.const 20)))
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $to (i32.add (local.get $to) (local.get $count)))
        (local.set $length (i32.sub (local.get $length) (local.get $count)))
        (br $more)))
    (i64.store (i32.const 16) (local.get $first))
    (i64.store (i32.const 24) (local.get $second))
    ;; EIO where the host gave nothing.
    (select (i32.const 29) (i32.const 0) (local.get $length)))

  ;; Two numbers, both 0: how many, and how many bytes.
  (func $none (param $count i32) (param $size i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $size) (i32.const 0))
    (i32.const 0))
  (func (export "args_sizes_get") (param i32 i32) (result i32) (call $none (local.get 0) (local.get 1)))
  (func (export "environ_sizes_get") (param i32 i32) (result i32) (call $none (local.get 0) (local.get 1)))
  (func (export "args_get") (param i32 i32) (result i32) (i32.const 0))
  (func (export "environ_get") (param i32 i32) (result i32) (i32.const 0))

  ;; EBADF for all but standard input, output and error.
  (func $standard (param $descriptor i32) (result i32)
    (select (i32.const 0) (i32.const 8) (i32.lt_u (local.get $descriptor) (i32.const 3))))

  (func (export "fd_write") (param $descriptor i32) (param $parts i32) (param $count i32) (param $to i32) (result i32)
    (local $sum i32)
    (if (call $standard (local.get $descriptor)) (then (return (i32.const 8))))
    (block $done
      (loop $more
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $parts))))
        (local.set $parts (i32.add (local.get $parts) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $more)))
    (i32.store (local.get $to) (local.get $sum))
    (i32.const 0))

  ;; The end of the file, at once.
  (func (export "fd_read") (param $descriptor i32) (param $parts i32) (param $count i32) (param $to i32) (result i32)
    (if (call $standard (local.get $descriptor)) (then (return (i32.const 8))))
    (i32.store (local.get $to) (i32.const 0))
    (i32.const 0))

  ;; A device that gives characters, without rights and flags.
  (func (export "fd_fdstat_get") (param $descriptor i32) (param $to i32) (result i32)
    (if (call $standard (local.get $descriptor)) (then (return (i32.const 8))))
    (i64.store (local.get $to) (i64.const 2))
    (i64.store offset=8 (local.get $to) (i64.const 0))
    (i64.store offset=16 (local.get $to) (i64.const 0))
    (i32.const 0))

  (func (export "fd_close") (param i32) (result i32) (call $standard (local.get 0)))
  (func (export "fd_fdstat_set_flags") (param i32 i32) (result i32) (call $standard (local.get 0)))

  ;; No more folders: the first one asked for is the end of their list.
  (func (export "fd_prestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) (i32.const 8))

  ;; EBADF: no descriptor is a file.
  (func (export "fd_advise") (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_allocate") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_datasync") (param i32) (result i32) (i32.const 8))
  (func (export "fd_fdstat_set_rights") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_size") (param i32 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_times") (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_pread") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_pwrite") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_readdir") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_renumber") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_sync") (param i32) (result i32) (i32.const 8))
  (func (export "fd_tell") (param i32 i32) (result i32) (i32.const 8))
  (func (export "sock_accept") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_recv") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_send") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "sock_shutdown") (param i32 i32) (result i32) (i32.const 8))

  ;; ENOTCAPABLE: nothing was given, and nothing can be.
  (func (export "path_create_directory") (param i32 i32 i32) (result i32) (i32.const 76))
  (func (export "path_filestat_get") (param i32 i32 i32 i32 i32) (result i32) (i32.const 76))
  (func (export "path_filestat_set_times") (param i32 i32 i32 i32 i64 i64 i32) (result i32) (i32.const 76))
  (func (export "path_link") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 76))
  (func (export "path_open") (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (i32.const 76))
  (func (export "path_readlink") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 76))
  (func (export "path_remove_directory") (param i32 i32 i32) (result i32) (i32.const 76))
  (func (export "path_rename") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 76))
  (func (export "path_symlink") (param i32 i32 i32 i32 i32) (result i32) (i32.const 76))
  (func (export "path_unlink_file") (param i32 i32 i32) (result i32) (i32.const 76))

  ;; Waits for the first of the clocks. There is no sleeping here: it asks the
  ;; time until it has come, within what the run may take. Anything else to
  ;; wait for is no descriptor at all, and said at once.
  (func (export "poll_oneoff") (param $in i32) (param $out i32) (param $count i32) (param $to i32) (result i32)
    (local $start i64) (local $index i32) (local $one i32) (local $ready i32)
    (local $passed i64) (local $wrong i32)
    (if (i32.eqz (local.get $count)) (then (return (i32.const 28))))
    (local.set $start (call $time (i32.const 1)))
    (loop $again
      (local.set $index (i32.const 0))
      (local.set $one (local.get $in))
      (loop $next
        (block $wait
          (local.set $wrong (i32.const 8))
          (if (i32.eqz (i32.load8_u offset=8 (local.get $one)))
            (then
              (local.set $wrong (i32.const 0))
              ;; A point in time is of its clock; a span is measured by the steady one.
              (local.set $passed
                (if (result i64) (i32.and (i32.load16_u offset=40 (local.get $one)) (i32.const 1))
                  (then (call $time (i32.load offset=16 (local.get $one))))
                  (else (i64.sub (call $time (i32.const 1)) (local.get $start)))))
              (br_if $wait (i64.lt_u (local.get $passed) (i64.load offset=24 (local.get $one))))))
          (i64.store (local.get $out) (i64.load (local.get $one)))
          (i64.store offset=8 (local.get $out) (i64.extend_i32_u (local.get $wrong)))
          (i32.store8 offset=10 (local.get $out) (i32.load8_u offset=8 (local.get $one)))
          (i64.store offset=16 (local.get $out) (i64.const 0))
          (i64.store offset=24 (local.get $out) (i64.const 0))
          (local.set $out (i32.add (local.get $out) (i32.const 32)))
          (local.set $ready (i32.add (local.get $ready) (i32.const 1))))
        (local.set $one (i32.add (local.get $one) (i32.const 48)))
        (local.set $index (i32.add (local.get $index) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $index) (local.get $count))))
      (br_if $again (i32.eqz (local.get $ready))))
    (i32.store (local.get $to) (local.get $ready))
    (i32.const 0))

  (func (export "sched_yield") (result i32) (i32.const 0))
  (func (export "proc_exit") (param i32) (unreachable))
  (func (export "proc_raise") (param i32) (result i32) (unreachable)))
