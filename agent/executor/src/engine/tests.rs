use super::*;

#[test]
fn a_pull_that_failed_says_so() {
    let said = |status, text: &str| {
        let mut lines = Lines::default();
        assert!(text.as_bytes().chunks(3).all(|piece| lines.feed(piece)));
        lines.ended(status)
    };
    assert_eq!(said(200, "{\"status\":\"Pulling\"}\r\n{\"status\":\"Done\"}\r\n"), None);
    let late = "{\"status\":\"Pulling\"}\r\n{\"errorDetail\":{\"message\":\"no space\"},\"error\":\"no space\"}\r\n";
    assert_eq!(said(200, late).as_deref(), Some("no space"));
    assert_eq!(said(404, "{\"message\":\"manifest unknown\"}\n").as_deref(), Some("manifest unknown"));
    assert_eq!(said(500, "").as_deref(), Some("the container engine answered 500"));
}

#[test]
fn one_tag_is_pulled() {
    for (image, pulled) in [
        ("nginx", "nginx:latest"),
        ("nginx:1", "nginx:1"),
        ("registry.example.com:5000/shop", "registry.example.com:5000/shop:latest"),
        ("shop@sha256:0f", "shop@sha256:0f"),
    ] {
        assert_eq!(with_tag(image), pulled);
    }
}

/// One image to go back to stays.
#[test]
fn the_image_before_the_last_is_let_go() {
    let stopped = |last: &str, before: Option<&str>| Images { last: last.into(), before: before.map(str::to_owned) };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(succession(&Images::default(), "a"), (None, None), "the first");
    assert_eq!(succession(&stopped("a", None), "a"), (None, None), "a restart");
    assert_eq!(succession(&stopped("a", None), "b"), (some("a"), None), "the first change");
    assert_eq!(succession(&stopped("b", Some("a")), "b"), (some("a"), None), "a restart later");
    assert_eq!(succession(&stopped("b", Some("a")), "c"), (some("b"), some("a")), "a second change");
    assert_eq!(succession(&stopped("b", Some("a")), "a"), (some("b"), None), "back to the one before");
}

#[test]
fn a_pid_that_nobody_has_is_over() {
    assert!(is_over(u32::MAX) && !is_over(std::process::id()));
}

#[tokio::test]
async fn without_an_engine_it_is_said_what_to_do() {
    let engine = Engine { said: Some("/no/such.sock".into()), stopped: RefCell::default() };
    let words = engine.inspect("hostler-shop-0").await.unwrap_err();
    assert!(
        words.starts_with("no container engine answers at /no/such.sock: install one (apt-get install docker.io)"),
        "{words}"
    );
}
