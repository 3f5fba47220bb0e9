//! The calls that the agent proper never makes, refused by the kernel: what its unit
//! said of itself before an executor had to be under the same unit.

use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
/// Another numbering of the same calls on x86-64.
const X32_BIT: u32 = 0x4000_0000;

const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
/// The low half of an argument, on the two architectures there are.
const fn argument_at(number: u32) -> u32 {
    16 + 8 * number
}

const REFUSED: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
/// glibc then takes the older call, whose flags can be seen.
const UNKNOWN: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;

const DENIED: [i64; 58] = [
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    // Other users and rights.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_capset,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_perf_event_open,
    // The kernel.
    libc::SYS_bpf,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_nfsservctl,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_fanotify_init,
    libc::SYS_open_by_handle_at,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // The host's clock and name.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_personality,
];

/// Calls with bits of an argument that are refused.
fn masked() -> Vec<(i64, u32, u32)> {
    let new_namespaces = (libc::CLONE_NEWNS
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP) as u32;
    let set_id = libc::S_ISUID | libc::S_ISGID;
    let mut masked =
        vec![(libc::SYS_clone, 0, new_namespaces), (libc::SYS_fchmod, 1, set_id), (libc::SYS_fchmodat, 2, set_id)];
    #[cfg(target_arch = "x86_64")]
    masked.push((libc::SYS_chmod, 1, set_id));
    masked
}

/// For this process and all that it becomes, for ever. Needs `no_new_privs`.
#[allow(unsafe_code, reason = "the kernel's own call; there is no safe one")]
pub fn deny() -> Result<(), String> {
    let mut filter = filter();
    let length = u16::try_from(filter.len()).map_err(|_| "the filter of calls is too long".to_owned())?;
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its filter live until the call returns; the kernel copies
    // them, and refuses a filter that is not well formed.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if set == 0 { Ok(()) } else { Err(format!("refuse calls to the agent: {}", std::io::Error::last_os_error())) }
}

fn filter() -> Vec<sock_filter> {
    let native = jump(BPF_JEQ, ARCHITECTURE, 1, 0);
    let mut filter = vec![load(ARCHITECTURE_AT), native, answer(REFUSED), load(NUMBER_AT)];
    filter.extend([jump(BPF_JGE, X32_BIT, 0, 1), answer(REFUSED)]);
    for call in DENIED {
        filter.extend([jump(BPF_JEQ, number(call), 0, 1), answer(REFUSED)]);
    }
    filter.extend([jump(BPF_JEQ, number(libc::SYS_clone3), 0, 1), answer(UNKNOWN)]);
    for (call, argument, mask) in masked() {
        filter.extend([
            jump(BPF_JEQ, number(call), 0, 5),
            // The argument takes the number's place: nothing is compared after it.
            load(argument_at(argument)),
            step(BPF_ALU | BPF_AND | BPF_K, mask),
            jump(BPF_JEQ, 0, 0, 1),
            answer(ALLOWED),
            answer(REFUSED),
        ]);
    }
    filter.push(answer(ALLOWED));
    filter
}

fn number(call: i64) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

fn load(at: u32) -> sock_filter {
    step(BPF_LD | BPF_W | BPF_ABS, at)
}

fn answer(what: u32) -> sock_filter {
    step(BPF_RET | BPF_K, what)
}

fn step(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// How many steps are left out when it is so, and when not.
fn jump(test: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | test | BPF_K) as u16, jt, jf, k }
}
