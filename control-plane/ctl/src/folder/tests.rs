use super::*;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

fn told(paths: &[&Path]) -> String {
    let paths: Vec<PathBuf> = paths.iter().map(|path| (*path).to_owned()).collect();
    read(&paths).expect_err("wrong").to_string()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(folder.path().join("env")).expect("made");
    fs::create_dir_all(folder.path().join("files/sub")).expect("made");
    fs::write(folder.path().join("a.yaml"), "system: {name: shop}\n").expect("written");
    fs::write(folder.path().join("env/prod.yaml"), "{}\n").expect("written");
    fs::write(folder.path().join("files/sub/x"), "abc").expect("written");
    folder
}

#[test]
fn a_folder_is_read_whole() {
    let folder = folder();
    // What an editor leaves while a file is open in it.
    symlink("somebody@somewhere", folder.path().join(".#a.yaml")).expect("linked");
    let mut input = read(&[folder.path().to_owned()]).expect("reads");
    assert_eq!(input.source.files.len(), 1);
    assert_eq!(input.source.envs, Some(vec!["prod".to_owned()]));
    let content = input.source.contents.as_ref().and_then(|all| all.get("files/sub/x")).expect("there");
    assert_eq!(content.digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert!(!input.arguments().contains("--env"));
    input.choose("prod").expect("there");
    assert!(input.arguments().ends_with("--env prod"));
}

#[test]
fn the_environment_must_be_one_that_is_there() {
    let folder = folder();
    let path = folder.path().to_owned();
    let mut input = read(std::slice::from_ref(&path)).expect("reads");
    assert!(input.undecided(None).to_string().ends_with("has environments: say which, --env prod"));
    assert!(input.undecided(Some("prod")).to_string().ends_with("; it is applied with --env prod"));
    assert!(input.choose("prd").expect_err("wrong").to_string().contains("did you mean --env prod?"));
    assert!(input.choose("zzz").expect_err("wrong").to_string().contains("there are prod"));
    let mut file = read(&[path.join("a.yaml")]).expect("reads");
    assert!(file.choose("prod").expect_err("wrong").to_string().contains("no folder was given"));
    fs::write(path.join("env/prod.yml"), "{}\n").expect("written");
    assert!(told(&[&path]).contains("are one environment: keep one of them"));
}

#[test]
fn what_is_wrong_is_named() {
    let folder = folder();
    let path = folder.path();
    assert!(told(&[path, path]).contains("one after the other"));
    assert!(told(&[&path.join("files")]).contains("holds no .yaml file"));
    assert!(told(&[&path.join("none.yaml")]).contains("none.yaml"));
    fs::write(path.join("b.yaml"), b"a: 1\nb: \xff\n").expect("written");
    assert!(told(&[path]).contains("b.yaml:2: is no UTF-8"));
    fs::write(path.join("b.yaml"), vec![b'#'; 1024 * 1024 + 1]).expect("written");
    assert!(told(&[path]).contains("b.yaml is larger than 1 MiB"));
    fs::remove_file(path.join("b.yaml")).expect("gone");
    symlink("nowhere", path.join("c.yaml")).expect("linked");
    assert!(told(&[path]).contains("c.yaml"));
}

#[test]
fn files_are_of_the_folder_alone() {
    let folder = folder();
    let path = folder.path();
    let link = path.join("files/link");
    for target in ["/etc/passwd", "/etc", "../files", "."] {
        symlink(target, &link).expect("linked");
        assert!(told(&[path]).contains("files/link is a link to"), "{target}");
        fs::remove_file(&link).expect("gone");
    }
    symlink("link", &link).expect("linked");
    assert!(told(&[path]).contains("files/link"), "a loop");
    fs::remove_file(&link).expect("gone");
    symlink("sub/x", &link).expect("linked");
    let input = read(&[path.to_owned()]).expect("a link to a file inside");
    assert_eq!(input.contents.len(), 2);
    fs::remove_file(&link).expect("gone");

    let _socket = UnixListener::bind(path.join("files/socket")).expect("bound");
    assert!(told(&[path]).contains("files/socket is a pipe, a socket or a device"));
    fs::remove_file(path.join("files/socket")).expect("gone");
    let large = File::create(path.join("files/large")).expect("made");
    large.set_len(CONTENT_BYTES_MAX + 1).expect("grown");
    assert!(told(&[path]).contains("files/large is larger than 16 MiB"));
    fs::remove_dir_all(path.join("files")).expect("gone");
    symlink("/etc", path.join("files")).expect("linked");
    assert!(told(&[path]).contains("files is a link to /etc"));
}

#[test]
fn what_is_said_to_be_typed_can_be() {
    assert_eq!(quoted(Path::new("deploy/shop-1.yaml")), "deploy/shop-1.yaml");
    assert_eq!(quoted(Path::new("my shop")), "'my shop'");
    assert_eq!(quoted(Path::new("it's")), "'it'\\''s'");
}
