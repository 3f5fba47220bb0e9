//! Words that belong to a machine or a workplace, and not in the product.

use super::Source;

struct Word {
    text: &'static str,
    why: &'static str,
}

/// In two pieces each, so that this file passes as well.
const WORDS: [Word; 7] = [
    Word { text: concat!("/wo", "rk/"), why: "a path of one machine" },
    Word { text: concat!("/home", "/runner"), why: "a path of one machine" },
    Word { text: concat!("issues ", "show"), why: "a workplace's tool" },
    Word { text: concat!("issue ", "#"), why: "a number that means nothing to a reader: say what it was about" },
    Word { text: concat!("static.crates", ".io"), why: "a registry's host: that is cargo's affair" },
    Word { text: concat!("index.crates", ".io"), why: "a registry's host: that is cargo's affair" },
    Word { text: concat!("registry.", "npmjs.org"), why: "a registry's host: that is npm's affair" },
];

pub fn forbidden(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !source.path.ends_with(".lock")) {
        for (index, line) in source.text.lines().enumerate() {
            for word in WORDS.iter().filter(|word| line.contains(word.text)) {
                found.push(format!("{}:{}: \"{}\" is {}", source.path, index + 1, word.text, word.why));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_word_is_found_with_its_line() {
        let planted = |path: &str| Source { path: path.into(), text: format!("fine\nsee {}x\n", WORDS[0].text) };
        assert_eq!(forbidden(&[planted("a.md")]).len(), 1);
        assert!(forbidden(&[planted("a.md")])[0].starts_with("a.md:2: "));
        assert!(forbidden(&[planted("Cargo.lock")]).is_empty());
    }
}
