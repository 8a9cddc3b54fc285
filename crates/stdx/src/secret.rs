//! Comparing secrets without telling, by the time that it takes, how much of a guess was right.

/// Whether `given` is the secret: every byte of the secret is looked at, wherever the first difference is. Its length is no
/// secret.
pub fn same(given: &[u8], own: &[u8]) -> bool {
    let differences = own.iter().enumerate().fold(0, |sum, (at, byte)| {
        sum | (byte ^ given.get(at).unwrap_or(&0))
    });
    // Behind a zero byte, a guess that is too short would differ nowhere.
    differences == 0 && given.len() == own.len()
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn only_the_secret_is_the_secret() {
        assert!(same(b"secret", b"secret") && same(b"", b""));
        for guess in ["", "s", "secre", "secreT", "Secret", "secretx", "secret\0"] {
            assert!(!same(guess.as_bytes(), b"secret"), "{guess}");
        }
        assert!(!same(b"secret", b"secret\0"));
    }
}
