//! One look: what the kernel says at this moment of those that are watched. Reads held descriptors, some microseconds each.

use super::Known;
use crate::estimator::qos::{Firm, Lent, Look};
use crate::runtime::Agent;
use model::id::ContainerId;
use std::fs::File;
use std::os::unix::fs::FileExt;

impl Agent {
    pub(super) fn see(&self) -> Look {
        let now = self.now().time;
        self.qos.spared.borrow_mut().retain(|_, until| *until > now);
        let (known, spared) = (self.qos.known.borrow(), self.qos.spared.borrow());
        let mut look = Look { available_bytes: self.available_bytes(), ..Look::default() };
        for (container_id, known) in known.iter() {
            match known.lent_cpus_milli {
                None if !known.container.is_ending() => look.firm.push(self.firm(container_id, known)),
                Some(_) if !spared.contains_key(container_id) => {
                    let account = known.container.account.borrow();
                    look.lent.push(Lent {
                        container_id: container_id.clone(),
                        began: known.began,
                        cpu_ns: account.usage.cpu_ns,
                        memory_bytes: account.usage.memory_current_bytes,
                    });
                }
                _ => {}
            }
        }
        look
    }

    fn firm(&self, container_id: &ContainerId, known: &Known) -> Firm {
        let is_wanted = self.qos.targets.wait_p99_ns.is_some();
        let id = known.container.cgroup_id.get().filter(|_| is_wanted);
        Firm {
            container_id: container_id.clone(),
            waits: id.and_then(|id| self.bpf.borrow().waits(id).ok().flatten()),
            stalled_ns: known
                .pressure
                .as_ref()
                .filter(|_| !known.has_cpu_limit)
                .and_then(|file| read(file, stalled_us))
                .map(|us| us.saturating_mul(1_000)),
        }
    }

    fn available_bytes(&self) -> Option<u64> {
        self.qos.targets.headroom_bytes?;
        read(self.qos.meminfo.as_ref()?, available_kib).map(|kib| kib.saturating_mul(1024))
    }
}

/// PSI switched off at the kernel's start makes reading fail (EOPNOTSUPP); compiled out, there is no file.
fn read(file: &File, parse: fn(&str) -> Option<u64>) -> Option<u64> {
    let mut buffer = [0; 4096];
    let length = file.read_at(&mut buffer, 0).ok()?;
    parse(std::str::from_utf8(&buffer[..length]).ok()?)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=123`. The kernel brings the total up to date as it is read, stalls that
/// last included.
fn stalled_us(text: &str) -> Option<u64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.rsplit_once("total=")?.1.trim().parse().ok()
}

fn available_kib(text: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read_and_others_are_nothing() {
        let pressure = "some avg10=1.53 avg60=0.40 avg300=0.08 total=4567\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n";
        assert_eq!(stalled_us(pressure), Some(4567));
        assert_eq!(stalled_us("full avg10=0.00 total=9\n"), None);
        assert_eq!(available_kib("MemTotal: 5 kB\nMemFree: 1 kB\nMemAvailable:   3 kB\n"), Some(3));
        assert_eq!(available_kib("MemTotal: 5 kB\n"), None);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("cpu.pressure");
        std::fs::write(&path, pressure).expect("written");
        let file = File::open(&path).expect("there");
        assert_eq!(read(&file, stalled_us), Some(4567));
        std::fs::write(&path, "some avg10=1.53 total=4568\n").expect("written");
        assert_eq!(read(&file, stalled_us), Some(4568), "what is held open is read anew");
        // As where PSI is switched off: opened, and not to be read.
        assert_eq!(read(&File::open(folder.path()).expect("there"), stalled_us), None);
    }
}
