//! Asking masters who of them leads: `GET /redirect`, which each answers with the leader's address.

use crate::url::Place;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For one master to answer. One that does not is as good as none.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Of an answer's head, bytes.
const HEAD_BYTES_MAX: u64 = 8 << 10;

/// Who leads, as the first says who knows.
pub async fn each(places: &[Place]) -> Option<Place> {
    for place in places {
        match timeout(ANSWER_MAX, one(place)).await {
            Ok(Ok(Some(leader))) => return Some(leader),
            Ok(Ok(None)) => tracing::debug!(master = %place, "knows_no_leader"),
            Ok(Err(error)) => tracing::debug!(master = %place, %error, "not_asked"),
            Err(_) => tracing::debug!(master = %place, "no_answer"),
        }
    }
    None
}

async fn one(place: &Place) -> std::io::Result<Option<Place>> {
    let mut stream = TcpStream::connect((place.host.as_str(), place.port)).await?;
    let request = format!("GET /redirect HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    stream.take(HEAD_BYTES_MAX).read_to_end(&mut head).await?;
    Ok(location(&String::from_utf8_lossy(&head)))
}

/// Of a 307 whose `Location` is `//host:port`.
fn location(head: &str) -> Option<Place> {
    let mut lines = head.split("\r\n").take_while(|line| !line.is_empty());
    lines.next()?.split(' ').nth(1).filter(|status| *status == "307")?;
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(name, _)| name.eq_ignore_ascii_case("location"))?;
    value.trim().trim_start_matches("http:").trim_start_matches("//").split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_says_who_leads() {
        let place = |text: &str| Some(text.parse().expect("a place"));
        let head = "HTTP/1.1 307 Temporary Redirect\r\nlocation: //h:5050\r\n\r\nLocation: //x:1";
        assert_eq!(location(head), place("h:5050"));
        assert_eq!(location("HTTP/1.1 307 x\r\nLocation: http://h:1/a\r\n\r\n"), place("h:1"));
        for other in
            ["", "HTTP/1.1 503 x\r\nLocation: //h:1\r\n\r\n", "HTTP/1.1 307 x\r\n\r\nLocation: //h:1"]
        {
            assert_eq!(location(other), None, "{other}");
        }
    }
}
