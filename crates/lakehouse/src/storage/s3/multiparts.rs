//! Uploads in parts that nobody has completed: what is under way, and what a process left when it died.
//!
//! A store shows them to who asks for them, keeps them and bills them. In a folder's list they are what they are on a disk, files
//! that are not finished: `.name.part`. So whoever sweeps a folder by its rule sweeps them by the same one, and takes none that is
//! still being written.

use super::Bucket;
use super::words::between;
use object_store::Error;
use object_store::MultipartId;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use std::collections::BTreeMap;
use std::io;

/// Answers have a thousand; a store that repeats itself is not asked for ever.
const MOST_ANSWERS: usize = 1000;

/// The key of the object that an unfinished one would become.
pub(super) fn whole(key: &Path) -> Option<Path> {
    let name = key.filename()?;
    let whole = name.strip_prefix('.')?.strip_suffix(".part")?;
    let folder = key.as_ref().strip_suffix(name)?;
    Path::parse(format!("{folder}{whole}")).ok()
}

/// What keys in a folder begin with.
pub(super) fn prefix_of(folder: &Path) -> String {
    match folder.as_ref() {
        "" => String::new(),
        folder => format!("{folder}/"),
    }
}

impl Bucket {
    /// Names in a folder, and of the folders in it, that have uploads.
    pub(super) async fn unfinished_in(&self, folder: &Path) -> io::Result<BTreeMap<String, bool>> {
        let prefix = prefix_of(folder);
        let mut names = BTreeMap::new();
        for (key, _) in self.uploads(&prefix).await? {
            match key
                .strip_prefix(&prefix)
                .map(|rest| rest.split_once('/').ok_or(rest))
            {
                Some(Ok((below, _))) => names.insert(below.to_owned(), true),
                Some(Err(name)) => names.insert(format!(".{name}.part"), false),
                None => continue,
            };
        }
        Ok(names)
    }

    /// Ends all uploads that would become this object.
    pub(super) async fn abort_all(&self, key: &Path) -> io::Result<()> {
        for (of, id) in self.uploads(key.as_ref()).await? {
            if of == key.as_ref() {
                self.abort(key, &id).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn abort(&self, key: &Path, id: &MultipartId) -> io::Result<()> {
        match self.store.abort_multipart(key, id).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("end the upload of", key, error)),
        }
    }

    /// All uploads to keys that begin so.
    pub(super) async fn uploads(&self, prefix: &str) -> io::Result<Vec<(String, MultipartId)>> {
        let mut all = Vec::new();
        let mut behind = String::new();
        for _ in 0..MOST_ANSWERS {
            let answer = self
                .ask(&format!("{behind}prefix={}&uploads=", escaped(prefix)))
                .await?;
            all.extend(uploads_in(&answer).filter(|(key, _)| key.starts_with(prefix)));
            let next = between(&answer, "<IsTruncated>", "</IsTruncated>")
                .filter(|truncated| *truncated == "true")
                .and_then(|_| between(&answer, "<NextKeyMarker>", "</NextKeyMarker>"));
            let Some(key) = next else {
                return Ok(all);
            };
            let id = between(&answer, "<NextUploadIdMarker>", "</NextUploadIdMarker>");
            behind = format!("key-marker={}&", escaped(&unescaped(key)));
            if let Some(id) = id {
                behind.push_str(&format!("upload-id-marker={}&", escaped(&unescaped(id))));
            }
        }
        let message = format!("the uploads of s3://{} have no end", self.name);
        Err(io::Error::new(io::ErrorKind::InvalidData, message))
    }
}

fn uploads_in(answer: &str) -> impl Iterator<Item = (String, MultipartId)> {
    answer.split("<Upload>").skip(1).filter_map(|upload| {
        let key = between(upload, "<Key>", "</Key>")?;
        let id = between(upload, "<UploadId>", "</UploadId>")?;
        Some((unescaped(key), unescaped(id)))
    })
}

/// In a query: a signature is over this spelling.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

fn unescaped(text: &str) -> String {
    let named = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&apos;", "'"),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ];
    named
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_name_is_told_from_a_finished_one() {
        let whole_of = |key: &str| whole(&Path::parse(key).unwrap()).map(|key| key.to_string());
        assert_eq!(
            whole_of("w/t/data/.a.parquet.part"),
            Some("w/t/data/a.parquet".to_owned())
        );
        assert_eq!(whole_of(".a.part"), Some("a".to_owned()));
        assert_eq!(whole_of("w/a.parquet"), None);
        assert_eq!(whole_of("w/a.part"), None);
    }

    #[test]
    fn an_answer_of_a_store_is_read() {
        let answer = "<ListMultipartUploadsResult><Upload><Key>w/a&amp;b</Key><UploadId>1</UploadId></Upload><Upload>\n<Key>w/c</Key><UploadId>2</UploadId></Upload></ListMultipartUploadsResult>";
        let uploads: Vec<_> = uploads_in(answer).collect();
        assert_eq!(
            uploads,
            [
                ("w/a&b".to_owned(), "1".to_owned()),
                ("w/c".to_owned(), "2".to_owned())
            ]
        );
        assert_eq!(escaped("a/b =é"), "a%2Fb%20%3D%C3%A9");
    }
}
