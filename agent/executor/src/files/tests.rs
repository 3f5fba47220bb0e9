use super::*;
use std::fs;

fn put(path: &Path, text: &str) -> Result<bool, String> {
    Place::of(path)?.put(text.as_bytes(), None, None, |_| Ok(()))
}

#[test]
fn a_file_is_put_once_and_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.conf");
    assert_eq!(put(&path, "one"), Ok(true));
    assert_eq!(put(&path, "one"), Ok(false));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(put(&path, "two"), Ok(true));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&path).unwrap(), "two");
}

#[test]
fn what_is_found_wanting_never_takes_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.conf");
    put(&path, "good").unwrap();
    let wrong = |new: &Path| Err(fs::read_to_string(new).unwrap());
    assert_eq!(Place::of(&path).unwrap().put(b"bad", None, None, wrong), Err("bad".into()));
    assert_eq!(fs::read_to_string(&path).unwrap(), "good");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn no_symlink_leads_around() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let refused = put(&link.join("a"), "x").unwrap_err();
    assert!(refused.contains("leads through a symlink"), "{refused}");
    fs::write(real.join("secret"), "s").unwrap();
    std::os::unix::fs::symlink(real.join("secret"), real.join("log")).unwrap();
    assert!(Place::of(&real.join("log")).unwrap().append(None).is_err(), "the last part is a symlink");
    fs::hard_link(real.join("secret"), real.join("second")).unwrap();
    let refused = Place::of(&real.join("second")).unwrap().append(None).unwrap_err();
    assert!(refused.contains("no plain file with one name"), "{refused}");
}

#[test]
fn a_folder_that_is_there_stays_whose_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    assert_eq!(make_folder(&path, None, Some(0o750)), Ok(true));
    assert_eq!(make_folder(&path, None, Some(0o750)), Ok(false));
    let refused = make_folder(&path, None, Some(0o777)).unwrap_err();
    assert!(refused.contains("is there, and belongs to"), "{refused}");
}

#[test]
fn a_file_is_read_again_only_when_something_about_it_changed() {
    use crate::protocol::{FileFound, LookAt, Stands, print_of};
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.conf");
    // As if it were looked at an hour later.
    let later = crate::clock::wall_ms() + 3_600_000;
    let look = |mark| look_at(&LookAt { path: path.clone(), mark }, later);
    let there = |mark| match look(mark) {
        FileFound::There(stands) => stands,
        other => panic!("{other:?}"),
    };
    assert_eq!(look(None), FileFound::Gone);
    fs::write(&path, "one").unwrap();
    let one = there(None);
    assert_eq!(one.print, print_of(b"one"));
    assert!(one.mark.is_some() && one.changed_ms > 0, "{one:?}");
    assert_eq!(look(one.mark), FileFound::Same);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let closed = there(one.mark);
    assert_eq!((closed.print, closed.mode), (one.print, 0o600));
    fs::write(folder.path().join("new"), "one").unwrap();
    fs::rename(folder.path().join("new"), &path).unwrap();
    assert_eq!(there(closed.mark).print, one.print, "another file under its name");
    fs::remove_file(&path).unwrap();
    assert_eq!(look(one.mark), FileFound::Gone);
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert_eq!(look(None), FileFound::NoFile);
    let below = LookAt { path: folder.path().join("not/there"), mark: None };
    assert_eq!(look_at(&below, later), FileFound::Gone, "its folder is gone");
    // What was written just now may change again within the clock's tick.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "two").unwrap();
    let young = look_at(&LookAt { path: path.clone(), mark: None }, crate::clock::wall_ms());
    assert!(matches!(young, FileFound::There(Stands { mark: None, .. })), "{young:?}");
}
