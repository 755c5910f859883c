use crate::needs::{self, Need};
use crate::scratch::Root;
use agent::bpf::Bpf;

#[test]
fn smoke() {
    if !needs::met("smoke", &[Need::Root, Need::Btf, Need::Cgroup2]) {
        return;
    }
    let root = Root::new("smoke");
    let (mut bpf, support) = Bpf::open(&root.path);
    println!("{support}");
    let c = root.container("c");
    bpf.add_container(c.id).unwrap();
    let mut child = c.sh("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; /bin/true; exit 3");
    child.wait().unwrap();
    c.wait_empty();
    bpf.refresh().unwrap();
    println!("{:?}", bpf.read(c.id));
    println!(
        "usage {} user {} system {}",
        c.cpu_stat("usage_usec"),
        c.cpu_stat("user_usec"),
        c.cpu_stat("system_usec")
    );
    bpf.take_events().unwrap().drain(|e| println!("{e:?} {}", e.command()));
    println!("{:?}", bpf.remove_container(c.id));
}
