//! Whole disks and what was read from and written to them.

use super::{SystemError, read_file};
use crate::answer::Disk;
use crate::limits;
use std::path::Path;

const DISKSTATS: &str = "/proc/diskstats";
const BLOCK: &str = "/sys/block";

/// In this file always, whatever the disk's own sectors are.
const SECTOR_BYTES: u64 = 512;

pub(super) fn read() -> Result<Vec<Disk>, SystemError> {
    let whole = |name: &str| Path::new(BLOCK).join(name.replace('/', "!")).is_dir();
    let mut list = parse(&read_file(DISKSTATS)?, whole).ok_or(SystemError::Format { path: DISKSTATS })?;
    list.sort_by(|a, b| a.name.cmp(&b.name));
    list.truncate(limits::DISKS_MAX);
    Ok(list)
}

/// Major and minor number, name, and eleven or more numbers. Of those that are
/// no partition, loops and memory disks that nobody used are left out.
fn parse(text: &str, is_whole: impl Fn(&str) -> bool) -> Option<Vec<Disk>> {
    let disks: Option<Vec<Disk>> = text.lines().map(parse_line).collect();
    let mut disks = disks?;
    disks.retain(|disk| is_whole(&disk.name) && (disk.reads > 0 || disk.writes > 0 || !is_virtual(&disk.name)));
    Some(disks)
}

fn is_virtual(name: &str) -> bool {
    ["loop", "ram", "zram", "nbd"].iter().any(|prefix| name.starts_with(prefix))
}

fn parse_line(line: &str) -> Option<Disk> {
    let mut fields = line.split_ascii_whitespace().skip(2);
    let name = fields.next()?.to_owned();
    let numbers: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>().ok()?;
    let at = |index: usize| numbers.get(index).copied();
    Some(Disk {
        name,
        reads: at(0)?,
        read_bytes: at(2)?.saturating_mul(SECTOR_BYTES),
        read_millis: at(3)?,
        writes: at(4)?,
        written_bytes: at(6)?.saturating_mul(SECTOR_BYTES),
        write_millis: at(7)?,
        busy_millis: at(9)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
   7       1 loop1 5 0 40 1 0 0 0 0 0 1 1
 259       0 nvme0n1 10 1 20 30 40 2 50 60 0 70 80 0 0 0 0 0 0
 259       1 nvme0n1p1 10 1 20 30 40 2 50 60 0 70 80
 104       0 cciss/c0d0 1 0 2 0 0 0 0 0 0 0 0
";

    #[test]
    fn whole_disks_only() {
        let disks = parse(TEXT, |name| !name.contains("n1p")).expect("disks");
        let names: Vec<&str> = disks.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["loop1", "nvme0n1", "cciss/c0d0"]);
        let expect = Disk {
            name: "nvme0n1".to_owned(),
            reads: 10,
            read_bytes: 20 * 512,
            read_millis: 30,
            writes: 40,
            written_bytes: 50 * 512,
            write_millis: 60,
            busy_millis: 70,
        };
        assert_eq!(disks[1], expect);
        assert_eq!(parse("8 0 sda 1 2", |_| true), None);
    }

    #[test]
    fn reads_this_machine() {
        let disks = read().expect("disks");
        assert!(disks.iter().all(|disk| Path::new(BLOCK).join(disk.name.replace('/', "!")).is_dir()), "{disks:?}");
    }
}
