//! What a certificate says of itself, trusted or not.
//!
//! Read as it is, field by field: whether it keeps to the standard is the
//! verifier's to say, and a library for all of it is a quarter of a megabyte.

use crate::answer::{Bytes, Certificate, Instant};
use der::asn1::{GeneralizedTime, ObjectIdentifier, UtcTime};
use der::{AnyRef, Class, Decode, Reader, SliceReader, Tag, Tagged};
use std::net::IpAddr;

const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// Of RFC 4514, and two more that certificates have.
const KEYS: [(&str, &str); 11] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// One that can't be read is told by its bytes and their hash alone.
pub(super) fn read(der: &[u8]) -> Certificate {
    let hash = ring::digest::digest(&ring::digest::SHA256, der);
    Certificate {
        sha256: data_encoding::HEXLOWER.encode(hash.as_ref()),
        der: Bytes(der.to_vec()),
        ..fields(der).unwrap_or_default()
    }
}

fn fields(der: &[u8]) -> Option<Certificate> {
    let signed = parts(AnyRef::from_der(der).ok()?.value()).next()?;
    // The first one's version has a tag of its own and is absent in the oldest.
    let mut fields = parts(signed.value()).skip_while(|field| is_context(field, 0));
    let (_serial, _algorithm, issuer) = (fields.next()?, fields.next()?, fields.next()?);
    let (validity, subject, _key) = (fields.next()?, fields.next()?, fields.next()?);
    let mut dates = parts(validity.value());
    let extensions = fields.find(|field| is_context(field, 3)).and_then(|field| parts(field.value()).next());
    Some(Certificate {
        subject: name(&subject),
        issuer: name(&issuer),
        not_before: instant(&dates.next()?),
        not_after: instant(&dates.next()?),
        names: extensions.and_then(|extensions| alternative_names(&extensions)).unwrap_or_default(),
        ..Certificate::default()
    })
}

/// The values that stand in another, up to the first that is none.
fn parts(content: &[u8]) -> impl Iterator<Item = AnyRef<'_>> {
    let mut reader = SliceReader::new(content).ok();
    std::iter::from_fn(move || {
        let reader = reader.as_mut().filter(|reader| !reader.is_finished())?;
        AnyRef::decode(reader).ok()
    })
}

fn is_context(value: &AnyRef<'_>, wanted: u32) -> bool {
    let tag = value.tag();
    tag.class() == Class::ContextSpecific && tag.number().value() == wanted
}

fn instant(value: &AnyRef<'_>) -> Instant {
    let since = match value.tag() {
        Tag::UtcTime => value.decode_as::<UtcTime>().map(|time| time.to_unix_duration()),
        _ => value.decode_as::<GeneralizedTime>().map(|time| time.to_unix_duration()),
    };
    Instant { seconds: since.map(|since| since.as_secs()).unwrap_or_default(), nanoseconds: 0 }
}

/// As in RFC 4514: what is nearest comes first.
fn name(value: &AnyRef<'_>) -> String {
    let one = |attribute: AnyRef<'_>| {
        let mut pair = parts(attribute.value());
        let key = pair.next()?.decode_as::<ObjectIdentifier>().ok()?.to_string();
        let short = KEYS.iter().find(|(id, _)| *id == key).map_or(key.as_str(), |(_, short)| short);
        Some(format!("{short}={}", escaped(&text(&pair.next()?))))
    };
    let set = |set: AnyRef<'_>| parts(set.value()).filter_map(one).collect::<Vec<_>>().join("+");
    let mut sets: Vec<String> = parts(value.value()).map(set).collect();
    sets.reverse();
    sets.join(",")
}

fn text(value: &AnyRef<'_>) -> String {
    match value.tag() {
        Tag::BmpString => {
            let units = value.value().chunks_exact(2).map(|pair| match pair {
                [high, low] => u16::from_be_bytes([*high, *low]),
                _ => 0,
            });
            char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        _ => String::from_utf8_lossy(value.value()).into_owned(),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (index, letter) in text.chars().enumerate() {
        let special = matches!(letter, ',' | '+' | '"' | '\\' | '<' | '>' | ';');
        if special || index == 0 && matches!(letter, '#' | ' ') || index == last && letter == ' ' {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

/// Names and addresses of hosts; a certificate can have names of other things.
fn alternative_names(extensions: &AnyRef<'_>) -> Option<Vec<String>> {
    let extension = parts(extensions.value()).find(|extension| {
        let id = parts(extension.value()).next().and_then(|id| id.decode_as::<ObjectIdentifier>().ok());
        id == Some(SUBJECT_ALT_NAME)
    })?;
    // Its id, perhaps whether it is critical, and its value in a string of bytes.
    let value = parts(extension.value()).last()?;
    let names = AnyRef::from_der(value.value()).ok()?;
    Some(parts(names.value()).filter_map(|name| host(&name)).collect())
}

fn host(name: &AnyRef<'_>) -> Option<String> {
    let bytes = name.value();
    if is_context(name, 2) {
        return Some(String::from_utf8_lossy(bytes).into_owned());
    }
    let four = || <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let six = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    let address = four().or_else(|_| six()).ok().filter(|_| is_context(name, 7))?;
    Some(address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_it_is_for_and_until_when() {
        let names = ["example.com", "*.example.com", "10.0.0.1", "::1"].map(str::to_owned);
        let mut parameters = rcgen::CertificateParams::new(names).expect("parameters");
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::OrganizationName, "Caf\u{e9}, Inc.");
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "example.com");
        parameters.not_before = rcgen::date_time_ymd(2020, 2, 29);
        parameters.not_after = rcgen::date_time_ymd(2051, 1, 1);
        let key = rcgen::KeyPair::generate().expect("key");
        let signed = parameters.self_signed(&key).expect("certificate");
        let read = read(signed.der());
        assert_eq!(read.subject, "CN=example.com,O=Caf\u{e9}\\, Inc.");
        assert_eq!(read.issuer, read.subject);
        assert_eq!(read.names, ["example.com", "*.example.com", "10.0.0.1", "::1"]);
        assert_eq!((read.not_before.seconds, read.not_after.seconds), (1_582_934_400, 2_556_144_000));
        assert_eq!((read.sha256.len(), read.der.0.as_slice()), (64, signed.der().as_ref()));
    }

    #[test]
    fn names_are_escaped() {
        for (text, expect) in
            [("a", "a"), ("a, b", "a\\, b"), (" a ", "\\ a\\ "), ("#1", "\\#1"), (" ", "\\ "), ("", "")]
        {
            assert_eq!(escaped(text), expect, "{text:?}");
        }
    }

    #[test]
    fn every_part_of_one_is_read_or_left_out() {
        let signed = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).expect("certificate");
        let whole = signed.cert.der().to_vec();
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]).subject, "");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            assert_eq!(read(&damaged).der.0, damaged);
        }
    }

    #[test]
    fn what_is_none_has_its_hash() {
        let nothing = read(b"");
        assert_eq!(nothing.sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!((nothing.subject.as_str(), nothing.names.len()), ("", 0));
    }
}
