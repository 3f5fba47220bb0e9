use super::*;

/// The status and the body, whatever the pieces it comes in.
fn read(text: &str) -> Result<(u16, String), Fault> {
    let mut found = None;
    for size in [1, 7, text.len().max(1)] {
        let (mut decoder, mut body) = (Decoder::default(), Vec::new());
        let mut result = Ok(0);
        for piece in text.as_bytes().chunks(size) {
            match decoder.feed(piece, &mut |_, part| {
                body.extend_from_slice(part);
                true
            }) {
                Ok(false) => {}
                Ok(true) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        let read = result.and_then(|_| decoder.ended()).map(|status| (status, String::from_utf8(body).unwrap()));
        assert!(found.is_none_or(|found| found == read), "in pieces of {size}");
        found = Some(read);
    }
    found.unwrap()
}

#[test]
fn answers_of_each_kind() {
    for (text, status, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, ""),
        ("HTTP/1.1 204 No Content\r\nServer: Docker\r\n\r\n", 204, ""),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
            200,
            "abc0123456789",
        ),
        ("HTTP/1.0 200 OK\r\n\r\nto the end", 200, "to the end"),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}", 201, "{}"),
    ] {
        assert_eq!(read(text), Ok((status, body.to_owned())), "{text}");
    }
}

#[test]
fn what_is_no_answer_is_said() {
    let broken = |text: &str| match read(text) {
        Err(Fault::Broken(words)) => words,
        other => panic!("{other:?}"),
    };
    assert_eq!(broken(""), "it hung up without an answer");
    assert_eq!(broken("HTTP/1.1 200 OK\r\nServer"), "it hung up without an answer");
    assert!(broken("SSH-2.0-OpenSSH\r\n").contains("it speaks no HTTP"));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(broken(&format!("{chunked}zz\r\n")).contains("broken chunks"));
    assert!(broken(&format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(HEAD_BYTES_MAX))).contains("too long"));
}

#[test]
fn who_has_enough_is_sent_no_more() {
    let mut decoder = Decoder::default();
    let mut count = 0;
    let text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n";
    let enough = decoder.feed(text, &mut |_, _| {
        count += 1;
        false
    });
    assert_eq!((enough, count), (Ok(true), 1));
}

#[test]
fn nothing_in_a_name_ends_it() {
    assert_eq!(encoded("a.example:5000/shop@sha256:0f"), "a.example%3A5000/shop%40sha256%3A0f");
    assert_eq!(encoded("x?y&z #"), "x%3Fy%26z%20%23");
}
