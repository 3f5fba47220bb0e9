//! Users of this host, from its own files.

use std::fs;

#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: String,
}

pub fn find(name: &str) -> Result<Account, String> {
    let passwd = fs::read_to_string("/etc/passwd").map_err(|error| format!("read /etc/passwd: {error}"))?;
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    account(&passwd, &groups, name).ok_or_else(|| {
        format!("there is no user {name} on this host (in /etc/passwd): make it first, e.g. useradd --system {name}")
    })
}

/// Whose id that is.
pub fn name_of(uid: u32) -> Option<String> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The number of a group.
pub fn group(name: &str) -> Result<u32, String> {
    let groups = fs::read_to_string("/etc/group").map_err(|error| format!("read /etc/group: {error}"))?;
    group_of(&groups, name).ok_or_else(|| {
        format!("there is no group {name} on this host (in /etc/group): the package that brings it comes first")
    })
}

fn group_of(group: &str, name: &str) -> Option<u32> {
    group.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? == name { fields.nth(1)?.parse().ok() } else { None }
    })
}

/// Every name of the user id 0.
pub fn roots() -> Vec<String> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let zero = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == "0").then(|| name.to_owned())
    };
    let mut names: Vec<String> = passwd.lines().filter_map(zero).collect();
    if !names.iter().any(|name| name == "root") {
        names.push("root".into());
    }
    names
}

fn account(passwd: &str, group: &str, name: &str) -> Option<Account> {
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let line = passwd.lines().map(fields).find(|line| line.first().is_some_and(|found| found == name))?;
    let number = |at: usize| line.get(at).and_then(|text| text.parse::<u32>().ok());
    let (uid, gid) = (number(2)?, number(3)?);
    let mut groups = vec![gid];
    for line in group.lines().map(fields) {
        let member = line.get(3).is_some_and(|members| members.split(',').any(|member| member == name));
        if let Some(gid) = line.get(2).and_then(|text| text.parse().ok()).filter(|_| member) {
            groups.push(gid);
        }
    }
    groups.sort_unstable();
    groups.dedup();
    Some(Account { name: name.to_owned(), uid, gid, groups, home: line.get(5).cloned().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::{account, group_of};

    #[test]
    fn a_user_has_its_groups() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nshop:x:100:101:,,,:/srv/shop:/bin/false\n";
        let group = "root:x:0:\nshop:x:101:\nweb:x:33:www,shop\nadm:x:4:shopper\n";
        let found = account(passwd, group, "shop").unwrap();
        assert_eq!((found.uid, found.gid, found.groups), (100, 101, vec![33, 101]));
        assert_eq!(account(passwd, group, "sho"), None);
        assert_eq!((group_of(group, "web"), group_of(group, "we")), (Some(33), None));
    }
}
