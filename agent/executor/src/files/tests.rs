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
