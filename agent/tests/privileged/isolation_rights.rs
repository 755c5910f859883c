//! What a container may do: capabilities, system calls, limits.

use std::sync::Arc;

use agent::containerizer::isolation::asked::Policy;
use agent::containerizer::seccomp;
use agent::sys::pidfd::Exit;
use api::v1;
use api::v1::capability_info::Capability;
use api::v1::r_limit_info::{RLimit, r_limit};

use crate::isolation_names::{able, container};
use crate::needs::{self, Need};
use crate::scene::{Scene, block_on, shell};

fn capabilities(list: &[Capability]) -> Option<v1::CapabilityInfo> {
    Some(v1::CapabilityInfo { capabilities: list.iter().map(|it| *it as i32).collect() })
}

fn linux(linux_info: v1::LinuxInfo) -> v1::ContainerInfo {
    v1::ContainerInfo { linux_info: Some(linux_info), ..container() }
}

const SETS: &str = "grep -E '^Cap(Prm|Eff|Bnd|Amb)' /proc/self/status";

/// The kernel's sets, as `SETS` shows them.
fn sets([permitted, effective, bounding, ambient]: [u64; 4]) -> String {
    format!(
        "CapPrm:\t{permitted:016x}\nCapEff:\t{effective:016x}\nCapBnd:\t{bounding:016x}\nCapAmb:\t{ambient:016x}\n"
    )
}

const CHOWN: u64 = 1;
const NET_RAW: u64 = 1 << 13;

#[test]
fn a_container_has_the_capabilities_that_it_asks_for_whoever_it_is() {
    if !needs::met("a_container_has_the_capabilities_that_it_asks_for_whoever_it_is", &[Need::Root]) {
        return;
    }
    let info = v1::LinuxInfo {
        effective_capabilities: capabilities(&[Capability::Chown]),
        bounding_capabilities: capabilities(&[Capability::Chown, Capability::NetRaw]),
        ..v1::LinuxInfo::default()
    };
    // Changing an owner wants CHOWN, mounting wants what it has not.
    let line = format!(
        "{SETS}; touch file; chown 3 file && stat -c %u file; mount -t tmpfs none . 2> /dev/null || echo denied"
    );
    for switches in [false, true] {
        let mut scene = able(Scene::without_cgroup());
        scene.agent.switch_user = switches;
        let plan = scene.plan_in("c1", shell(&line), Some(linux(info.clone()))).unwrap();
        let expect = sets([CHOWN, CHOWN, CHOWN | NET_RAW, CHOWN]) + "3\ndenied\n";
        assert_eq!(block_on(scene.finish(plan)), (Exit::Code(0), expect), "as nobody: {switches}");
    }
}

#[test]
fn root_has_no_more_than_it_is_left() {
    if !needs::met("root_has_no_more_than_it_is_left", &[Need::Root]) {
        return;
    }
    let scene = able(Scene::without_cgroup());
    let bounding_capabilities = capabilities(&[Capability::Chown]);
    let info = v1::LinuxInfo { bounding_capabilities, ..v1::LinuxInfo::default() };
    let line = format!("{SETS}; mount -t tmpfs none . 2> /dev/null || echo denied");
    let plan = scene.plan_in("c1", shell(&line), Some(linux(info))).unwrap();
    let expect = sets([CHOWN, CHOWN, CHOWN, 0]) + "denied\n";
    assert_eq!(block_on(scene.finish(plan)), (Exit::Code(0), expect));
    // Nor does a program that gives its user's rights, where nothing may.
    let mut scene = able(Scene::without_cgroup());
    scene.agent.switch_user = true;
    scene.agent.isolation = Arc::new(Policy { no_new_privileges: true, ..Policy::default() });
    let setuid = scene.folder().join("id");
    std::fs::copy("/usr/bin/id", &setuid).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
    std::fs::set_permissions(&setuid, mode).unwrap();
    let plan =
        scene.plan("c1", shell(&format!("grep NoNewPrivs /proc/self/status; {} -u", setuid.display())));
    assert_eq!(block_on(scene.finish(plan)), (Exit::Code(0), "NoNewPrivs:\t1\n65534\n".to_owned()));
}

#[test]
fn calls_that_a_profile_denies_are_denied() {
    if !needs::met("calls_that_a_profile_denies_are_denied", &[Need::Root]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["chmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
        {"names": ["kill"], "action": "SCMP_ACT_KILL_PROCESS", "args": [{"index": 1, "value": 31, "op": "SCMP_CMP_EQ"}]}]}"#;
    std::fs::write(folder.path().join("strict.json"), profile).unwrap();
    let seccomp = seccomp::load(Some(folder.path()), None, u64::MAX).unwrap();
    let named = |name: &str| {
        let seccomp = Some(v1::SeccompInfo { profile_name: Some(name.to_owned()), unconfined: None });
        linux(v1::LinuxInfo { seccomp, ..v1::LinuxInfo::default() })
    };
    // Whether or not more rights can be gained: the filter is installed at another moment.
    for (switches, no_new_privileges) in [(false, false), (true, false), (true, true)] {
        let mut scene = able(Scene::without_cgroup());
        scene.agent.switch_user = switches;
        scene.agent.isolation =
            Arc::new(Policy { seccomp: seccomp.clone(), no_new_privileges, ..Policy::default() });
        let line = "touch f; chmod 600 f; kill -10 $$ 2> /dev/null; echo no";
        let plan = scene.plan_in("c1", shell(line), Some(named("strict.json"))).unwrap();
        let (exit, output) = block_on(scene.finish(plan));
        assert!(output.contains("No space left on device"), "{output}");
        assert_eq!(exit, Exit::Signal { number: 10, core_dumped: false });
        let plan = scene.plan_in("c2", shell("kill -31 $$; echo no"), Some(named("strict.json"))).unwrap();
        let (exit, output) = block_on(scene.finish(plan));
        assert!(matches!(exit, Exit::Signal { number: libc::SIGSYS, .. }), "{exit:?} {output}");
        // Ours lets an ordinary life go on, and not what concerns the machine; nobody's lets everything.
        let line = "grep -E '^Seccomp:' /proc/self/status; swapoff -a 2>&1; swapoff /dev/null 2>&1";
        let (_, output) = block_on(scene.finish(scene.plan("c3", shell(line))));
        assert!(output.starts_with("Seccomp:\t2\n"), "{output}");
        assert!(output.contains("Operation not permitted") || output.contains("Not superuser"), "{output}");
        let free = Some(v1::SeccompInfo { profile_name: None, unconfined: Some(true) });
        let free = linux(v1::LinuxInfo { seccomp: free, ..v1::LinuxInfo::default() });
        let plan = scene.plan_in("c4", shell("grep -E '^Seccomp:' /proc/self/status"), Some(free)).unwrap();
        assert_eq!(block_on(scene.finish(plan)), (Exit::Code(0), "Seccomp:\t0\n".to_owned()));
        let error = scene.plan_in("c5", shell("true"), Some(named("other.json"))).unwrap_err().to_string();
        let expect = "container.linux_info.seccomp.profile_name cannot be had: there is no profile 'other.json' in \
                      --seccomp-config-dir";
        assert_eq!(error, expect);
    }
}

#[test]
fn limits_of_processes_are_seen_inside_and_hold() {
    let limit = |kind: r_limit::Type, soft, hard| RLimit {
        r#type: Some(kind as i32),
        soft: Some(soft),
        hard: Some(hard),
    };
    let rlimits = vec![limit(r_limit::Type::RlmtNofile, 20, 30), limit(r_limit::Type::RlmtFsize, 1024, 2048)];
    let rlimit_info = Some(v1::RLimitInfo { rlimits });
    let asked = v1::ContainerInfo { rlimit_info, ..container() };
    let scene = able(Scene::without_cgroup());
    let line =
        "ulimit -Sn; ulimit -Hn; trap '' XFSZ; head -c 4096 /dev/zero > big 2> /dev/null; stat -c %s big";
    let plan = scene.plan_in("c1", shell(line), Some(asked.clone())).unwrap();
    assert_eq!(block_on(scene.finish(plan)), (Exit::Code(0), "20\n30\n1024\n".to_owned()));
    let scene = Scene::without_cgroup();
    let error = scene.plan_in("c1", shell("true"), Some(asked)).unwrap_err().to_string();
    assert_eq!(error, "container.rlimit_info cannot be had: --isolation has no posix/rlimits");
}
