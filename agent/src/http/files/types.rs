//! Media types of downloads, by the ends of file names: those of Mesos' table that tasks' files are likely to have.

/// What a browser takes the file for. What is not known it saves.
pub(super) fn of(name: &str) -> &'static str {
    let end = name.rsplit_once('.').map_or("", |(_, end)| end);
    match end {
        "c" | "h" | "ksh" | "pl" | "bat" | "txt" => "text/plain",
        "css" => "text/css",
        "htm" | "html" => "text/html",
        "py" => "text/x-python",
        "sgm" | "sgml" => "text/x-sgml",
        "tsv" => "text/tab-separated-values",
        "xml" => "text/xml",
        "csh" => "application/x-csh",
        "sh" => "application/x-sh",
        "js" => "application/x-javascript",
        "tar" => "application/x-tar",
        "zip" => "application/zip",
        "pdf" => "application/pdf",
        "ai" | "eps" | "ps" => "application/postscript",
        "tex" => "application/x-tex",
        "bmp" => "image/bmp",
        "gif" => "image/gif",
        "jpe" | "jpeg" | "jpg" => "image/jpeg",
        "png" => "image/png",
        "tif" | "tiff" => "image/tiff",
        "wav" => "audio/x-wav",
        "mp2" | "mp3" | "mpga" => "audio/mpeg",
        "mpe" | "mpeg" | "mpg" => "video/mpeg",
        "mp4" => "video/mp4",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn a_name_says_what_it_holds_or_nothing() {
        assert_eq!(of("stdout"), "application/octet-stream");
        assert_eq!(of("result.tar"), "application/x-tar");
        assert_eq!(of("a.b.txt"), "text/plain");
        assert_eq!(of("txt"), "application/octet-stream");
    }
}
