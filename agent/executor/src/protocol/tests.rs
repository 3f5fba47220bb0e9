use super::*;
use proptest::prelude::*;

fn request(act: Act) -> Request {
    Request { id: 7, expires_at_ms: 90_000, act }
}

fn process() -> Process {
    Process {
        command: vec!["/opt/shop/bin/api".into(), "--port".into(), "80".into()],
        user: Some("shop".into()),
        folder: None,
        env: Environment(BTreeMap::from([("TOKEN".into(), "hunter2".into())])),
        limits: Limits { memory_bytes: Some(1 << 20), cpu: Some(0.5), ..Limits::default() },
        stop_signal: "SIGTERM".into(),
        grace_ms: 10_000,
        output: "/var/log/shop.log".into(),
        ready_notify: false,
        free: false,
    }
}

fn put() -> Act {
    Act::PutFile {
        path: "/etc/nginx/nginx.conf".into(),
        content_base64: Content(b"password hunter2".to_vec()),
        owner: None,
        mode: Some(0o644),
        validate: Some(vec!["/usr/sbin/nginx".into(), "-t".into(), "-c".into(), "${file}".into()]),
        user: None,
    }
}

fn acts() -> Vec<Act> {
    let unit = || "hostler-shop.service".to_owned();
    vec![Act::StartProcess { unit: unit(), process: process() }, Act::Stop { unit: unit() }, put(), Act::List]
}

#[test]
fn what_is_written_is_read_in_any_pieces() {
    let messages: Vec<Request> = acts().into_iter().map(request).collect();
    let bytes: Vec<u8> = messages.iter().flat_map(|message| encode(message).unwrap()).collect();
    for size in [1, 3, 1000, bytes.len()] {
        let mut decoder = Decoder::<Request>::default();
        let mut read = Vec::new();
        for piece in bytes.chunks(size) {
            decoder.feed(piece);
            while let Some(message) = decoder.take().unwrap() {
                read.push(message);
            }
        }
        assert_eq!(read, messages, "in pieces of {size}");
    }
}

#[test]
fn no_value_of_a_secret_is_shown() {
    for act in acts() {
        let shown = format!("{:?}", request(act));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    assert!(format!("{:?}", process()).contains("TOKEN"), "names help, and are no secret");
}

#[test]
fn the_wire_is_what_it_was() {
    let text =
        serde_json::to_string(&request(Act::Kill { unit: "a.service".into(), signal: "SIGHUP".into() })).unwrap();
    assert_eq!(text, r#"{"id":7,"expires_at_ms":90000,"act":{"kill":{"unit":"a.service","signal":"SIGHUP"}}}"#);
    let answer = Answer { id: 7, outcome: Outcome::Refused { rule: "policy".into(), words: "no".into() } };
    let text = serde_json::to_string(&answer).unwrap();
    assert_eq!(text, r#"{"id":7,"outcome":{"refused":{"rule":"policy","words":"no"}}}"#);
    assert_eq!(serde_json::to_string(&request(Act::List)).unwrap(), r#"{"id":7,"expires_at_ms":90000,"act":"list"}"#);
}

fn framed(body: &str) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_le_bytes(), body.as_bytes()].concat()
}

#[test]
fn an_unknown_act_is_an_error_with_its_id_and_the_next_is_read() {
    let mut decoder = Decoder::<Request>::default();
    decoder.feed(&framed(r#"{"id":3,"expires_at_ms":1,"act":{"format_disk":{}}}"#));
    decoder.feed(&encode(&request(Act::List)).unwrap());
    let Err(FrameError::Unreadable { id: Some(3), source }) = decoder.take() else { panic!("read it") };
    assert!(source.to_string().contains("format_disk"), "{source}");
    assert_eq!(decoder.take().unwrap(), Some(request(Act::List)));
}

#[test]
fn what_is_too_long_is_known_by_its_length_alone() {
    let mut decoder = Decoder::<Request>::default();
    decoder.feed(&u32::MAX.to_le_bytes());
    assert!(matches!(decoder.take(), Err(FrameError::TooLong { .. })));
    let (text, env) = ("x".repeat(MESSAGE_BYTES_MAX), Environment::default());
    let act = Act::WriteUnit { unit: "a.service".into(), text, enable: false, env };
    let refused = encode(&request(act)).unwrap_err().to_string();
    assert!(refused.contains("above the limit of 2097152"), "{refused}");
}

proptest! {
    /// Whatever comes, in whatever pieces: no panic, and no more is kept than came.
    #[test]
    fn no_bytes_break_the_decoder(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..32)) {
        let mut decoder = Decoder::<Request>::default();
        for piece in &pieces {
            decoder.feed(piece);
            while let Ok(Some(_)) = decoder.take() {}
        }
    }

    /// A request with bytes changed is read as something, or is an error.
    #[test]
    fn no_damage_breaks_the_decoder(at in prop::collection::vec((0usize..600, any::<u8>()), 1..8)) {
        for act in acts() {
            let mut bytes = encode(&request(act)).unwrap();
            for (place, byte) in &at {
                let place = place % bytes.len();
                bytes[place] = *byte;
            }
            let mut decoder = Decoder::<Request>::default();
            decoder.feed(&bytes);
            for _ in 0..bytes.len() {
                match decoder.take() {
                    Ok(None) | Err(FrameError::TooLong { .. }) => break,
                    Ok(Some(_)) | Err(_) => {}
                }
            }
        }
    }
}
