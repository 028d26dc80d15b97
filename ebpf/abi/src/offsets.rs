//! Fields of kernel structs that the programs read.
//!
//! A specification is `struct.field`, with more fields for members of members; members of
//! anonymous structs and unions are written without a step. Alternatives for other kernels are
//! separated by `|`, newest last. A leading `?` marks what a kernel may be built without: the
//! offset is then [`ABSENT`] and the programs leave the fact out. `=enum.NAME` is an enumerator's
//! value, `#struct` a struct's size, `argN` the place of a system call's argument in the saved registers, from 6
//! on as i386 passes them.

/// The field does not exist in the running kernel.
pub const ABSENT: u32 = u32::MAX;

macro_rules! offsets {
    ($($field:ident = $spec:literal;)*) => {
        /// Offsets in bytes, one per specification in [`SPECS`].
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        pub struct Offsets {
            $(#[doc = concat!("`", $spec, "`")] pub $field: u32,)*
        }

        impl Offsets {
            /// Every offset [`ABSENT`].
            pub const NONE: Self = Self { $($field: ABSENT,)* };
        }

        /// Name and specification of each offset, in the order of [`Offsets`].
        pub const SPECS: &[(&str, &str)] = &[$((stringify!($field), $spec),)*];

        const _: () = assert!(size_of::<Offsets>() == SPECS.len() * 4);
    };
}

offsets! {
    task_pid = "task_struct.pid";
    task_tgid = "task_struct.tgid";
    task_real_parent = "task_struct.real_parent";
    task_group_leader = "task_struct.group_leader";
    task_start = "task_struct.real_start_time|task_struct.start_boottime";
    task_comm = "task_struct.comm";
    task_flags = "task_struct.flags";
    task_exit_code = "task_struct.exit_code";
    task_utime = "task_struct.utime";
    task_stime = "task_struct.stime";
    task_runtime = "task_struct.se.sum_exec_runtime";
    task_min_flt = "task_struct.min_flt";
    task_maj_flt = "task_struct.maj_flt";
    task_mm = "task_struct.mm";
    task_fs = "task_struct.fs";
    task_files = "task_struct.files";
    task_nsproxy = "task_struct.nsproxy";
    task_signal = "task_struct.signal";
    task_cred = "task_struct.cred";
    task_thread_pid = "task_struct.thread_pid";
    task_cgroups = "task_struct.cgroups";
    task_stack = "task_struct.stack";
    task_status = "?task_struct.thread_info.status";
    task_loginuid = "?task_struct.loginuid.val";
    task_sessionid = "?task_struct.sessionid";

    signal_live = "signal_struct.live.counter";
    signal_flags = "signal_struct.flags";
    signal_group_exit_code = "signal_struct.group_exit_code";
    signal_utime = "signal_struct.utime";
    signal_stime = "signal_struct.stime";
    signal_runtime = "signal_struct.sum_sched_runtime";
    signal_maxrss = "signal_struct.maxrss";
    signal_min_flt = "signal_struct.min_flt";
    signal_maj_flt = "signal_struct.maj_flt";
    signal_tty = "signal_struct.tty";
    signal_pids = "signal_struct.pids";

    tty_driver = "tty_struct.driver";
    tty_index = "tty_struct.index";
    tty_driver_major = "tty_driver.major";
    tty_driver_minor_start = "tty_driver.minor_start";

    mm_arg_start = "mm_struct.arg_start";
    mm_arg_end = "mm_struct.arg_end";
    mm_env_start = "mm_struct.env_start";
    mm_env_end = "mm_struct.env_end";
    mm_exe_file = "mm_struct.exe_file";
    mm_users = "mm_struct.mm_users.counter";

    fs_root_mnt = "fs_struct.root.mnt";
    fs_root_dentry = "fs_struct.root.dentry";
    fs_pwd_mnt = "fs_struct.pwd.mnt";
    fs_pwd_dentry = "fs_struct.pwd.dentry";

    files_fdt = "files_struct.fdt";
    fdt_max_fds = "fdtable.max_fds";
    fdt_fd = "fdtable.fd";

    file_mnt = "file.f_path.mnt";
    file_dentry = "file.f_path.dentry";
    file_inode = "file.f_inode";
    file_mode = "file.f_mode";
    file_private_data = "file.private_data";
    file_count = "?file.f_count.counter|file.f_ref.refcnt.counter";

    dentry_parent = "dentry.d_parent";
    dentry_name_len = "dentry.d_name.len";
    dentry_name = "dentry.d_name.name";
    dentry_short_name = "dentry.d_iname|dentry.d_shortname";

    mount_mnt = "mount.mnt";
    mount_ns = "mount.mnt_ns";
    mount_parent = "mount.mnt_parent";
    mount_mountpoint = "mount.mnt_mountpoint";
    vfsmount_root = "vfsmount.mnt_root";

    inode_ino = "inode.i_ino";
    inode_mode = "inode.i_mode";
    inode_uid = "inode.i_uid.val";
    inode_gid = "inode.i_gid.val";
    inode_nlink = "inode.i_nlink";
    inode_size = "inode.i_size";
    inode_sb = "inode.i_sb";
    inode_ctime_s = "inode.i_ctime.tv_sec|inode.__i_ctime.tv_sec|inode.i_ctime_sec";
    inode_ctime_ns = "inode.i_ctime.tv_nsec|inode.__i_ctime.tv_nsec|inode.i_ctime_nsec";
    inode_mtime_s = "inode.i_mtime.tv_sec|inode.__i_mtime.tv_sec|inode.i_mtime_sec";
    inode_mtime_ns = "inode.i_mtime.tv_nsec|inode.__i_mtime.tv_nsec|inode.i_mtime_nsec";
    inode_bytes = "#inode";
    sb_dev = "super_block.s_dev";
    sb_magic = "super_block.s_magic";

    cred_uid = "cred.uid.val";
    cred_fsgid = "cred.fsgid.val";
    cred_euid = "cred.euid.val";
    cred_egid = "cred.egid.val";
    cred_cap_inheritable = "cred.cap_inheritable";
    cred_cap_ambient = "cred.cap_ambient";
    cred_user_ns = "cred.user_ns";

    nsproxy_uts = "?nsproxy.uts_ns";
    nsproxy_ipc = "?nsproxy.ipc_ns";
    nsproxy_mnt = "nsproxy.mnt_ns";
    nsproxy_net = "?nsproxy.net_ns";
    nsproxy_cgroup = "?nsproxy.cgroup_ns";
    uts_inum = "?uts_namespace.ns.inum";
    ipc_inum = "?ipc_namespace.ns.inum";
    mnt_inum = "mnt_namespace.ns.inum";
    net_inum = "?net.ns.inum";
    cgroup_ns_inum = "?cgroup_namespace.ns.inum";
    user_inum = "?user_namespace.ns.inum";
    pid_ns_child_reaper = "pid_namespace.child_reaper";
    pid_ns_inum = "pid_namespace.ns.inum";

    pid_level = "pid.level";
    pid_numbers = "pid.numbers";
    upid_nr = "upid.nr";
    upid_ns = "upid.ns";

    css_set_dfl_cgrp = "?css_set.dfl_cgrp";
    css_set_subsys = "?css_set.subsys";
    css_cgroup = "?cgroup_subsys_state.cgroup";
    cgroup_kn = "?cgroup.kn";
    cgroup_root = "?cgroup.root";
    cgroup_root_hierarchy = "?cgroup_root.hierarchy_id";
    kn_id = "?kernfs_node.id";
    kn_name = "?kernfs_node.name";
    kn_parent = "?kernfs_node.parent|kernfs_node.__parent";
    subsys_memory = "?=cgroup_subsys_id.memory_cgrp_id";
    subsys_pids = "?=cgroup_subsys_id.pids_cgrp_id";
    subsys_devices = "?=cgroup_subsys_id.devices_cgrp_id";

    bprm_filename = "linux_binprm.filename";
    bprm_interp = "linux_binprm.interp";

    socket_sk = "?socket.sk";
    socket_type = "?socket.type";
    sock_family = "?sock.__sk_common.skc_family";
    sock_daddr = "?sock.__sk_common.skc_daddr";
    sock_rcv_saddr = "?sock.__sk_common.skc_rcv_saddr";
    sock_dport = "?sock.__sk_common.skc_dport";
    sock_num = "?sock.__sk_common.skc_num";
    sock_v6_daddr = "?sock.__sk_common.skc_v6_daddr";
    sock_v6_rcv_saddr = "?sock.__sk_common.skc_v6_rcv_saddr";
    sock_protocol = "?sock.sk_protocol";
    sock_state = "?sock.__sk_common.skc_state";
    sock_flags = "?sock.__sk_common.skc_flags";
    sock_shutdown = "?sock.sk_shutdown";
    sock_done = "?=sock_flags.SOCK_DONE";
    inet_sport = "?inet_sock.inet_sport";
    tcp_bytes_sent = "?tcp_sock.bytes_sent";
    tcp_bytes_retrans = "?tcp_sock.bytes_retrans";
    tcp_bytes_received = "?tcp_sock.bytes_received";
    unix_addr = "?unix_sock.addr";
    unix_address_len = "?unix_address.len";
    unix_address_name = "?unix_address.name";

    uring_opcode = "?io_kiocb.opcode";
    uring_flags = "?io_kiocb.flags";
    uring_result = "?io_kiocb.cqe.res";
    uring_cmd = "?io_kiocb.cmd";
    uring_file = "?io_kiocb.file";
    uring_open_dfd = "?io_open.dfd";
    uring_open_slot = "?io_open.file_slot";
    uring_open_name = "?io_open.filename";
    uring_open_how = "?io_open.how";
    uring_unlink_dfd = "?io_unlink.dfd";
    uring_unlink_flags = "?io_unlink.flags";
    uring_unlink_name = "?io_unlink.filename";
    uring_rename_old_dfd = "?io_rename.old_dfd";
    uring_rename_new_dfd = "?io_rename.new_dfd";
    uring_rename_old = "?io_rename.oldpath";
    uring_rename_new = "?io_rename.newpath";
    uring_rename_flags = "?io_rename.flags";
    uring_mkdir_dfd = "?io_mkdir.dfd";
    uring_mkdir_mode = "?io_mkdir.mode";
    uring_mkdir_name = "?io_mkdir.filename";
    uring_link_old_dfd = "?io_link.old_dfd";
    uring_link_new_dfd = "?io_link.new_dfd";
    uring_link_old = "?io_link.oldpath";
    uring_link_new = "?io_link.newpath";
    uring_link_flags = "?io_link.flags";
    uring_connect_addr = "?io_connect.addr";
    uring_connect_len = "?io_connect.addr_len";
    filename_name = "?filename.name";
    open_how_flags = "?open_how.flags";
    open_how_mode = "?open_how.mode";
    file_flags = "file.f_flags";
    siginfo_code = "?kernel_siginfo.si_code";

    regs_number = "pt_regs.orig_ax|pt_regs.syscallno";
    arg0 = "arg0";
    arg1 = "arg1";
    arg2 = "arg2";
    arg3 = "arg3";
    arg4 = "arg4";
    arg5 = "arg5";
    ia32_arg0 = "arg6";
    ia32_arg1 = "arg7";
    ia32_arg2 = "arg8";
    ia32_arg3 = "arg9";
    ia32_arg4 = "arg10";
    ia32_arg5 = "arg11";
}
