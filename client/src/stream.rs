//! A stream of events: a chunked answer, cut into records, each decoded; and the task that keeps one standing, by
//! subscribing again when it breaks. What is subscribed to is told by a [`Subscription`].

use std::time::Duration;

use api::V1;
use api::recordio::Decoder;
use http::{HeaderValue, Method, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming as Body;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::backoff::{self, Backoff};
use crate::http::{Call, Connection};
use crate::{Address, Encoding, Error};

/// Events read ahead of the user. When they are as many as this, the daemon's stream is not read on.
const READ_AHEAD: usize = 64;

/// What the user of a stream hears; `S` is what a subscription is answered with, `E` any other event.
#[derive(Debug)]
pub enum Incoming<S, E> {
    /// Subscribed, the first time or anew. Anew, events may have been missed.
    Subscribed(Box<S>),
    Event(Box<E>),
    /// The stream broke. `Subscribed` follows, or the end.
    Lost(Error),
}

/// The end of a stream at which events come out.
#[derive(Debug)]
pub struct Events<S, E> {
    receiver: mpsc::Receiver<Result<Incoming<S, E>, Error>>,
}

impl<S, E> Events<S, E> {
    /// The next event; an error is the last. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Incoming<S, E>, Error> {
        self.receiver.recv().await.unwrap_or(Err(Error::NotSubscribed))
    }
}

/// What to subscribe to, and what to note of it.
pub(crate) trait Subscription: Send + 'static {
    type Subscribed: Send;
    type Event: V1;

    /// Opens the stream.
    fn open(&mut self) -> impl Future<Output = Result<Stream, Error>> + Send;

    /// Sorts an event: `None` is for nobody but us (a heartbeat).
    fn sort(
        &mut self,
        stream: &mut Stream,
        event: Self::Event,
    ) -> Option<Incoming<Self::Subscribed, Self::Event>>;

    /// The stream is gone.
    fn lost(&mut self);

    /// How long to try to return after a loss.
    fn patience(&self) -> Duration;

    /// How long to try the first time.
    fn patience_at_first(&self) -> Duration {
        Duration::ZERO
    }

    /// The longest wait between two attempts.
    fn backoff_max(&self) -> Duration {
        backoff::MAX
    }
}

/// Starts the task that keeps a subscription. If the first attempt fails, that is the only event. The task ends when
/// the events are dropped, or there is no more hope.
pub(crate) fn keep<T: Subscription>(subscription: T) -> Events<T::Subscribed, T::Event> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    tokio::spawn(run(subscription, sender));
    Events { receiver }
}

type Sender<T> =
    mpsc::Sender<Result<Incoming<<T as Subscription>::Subscribed, <T as Subscription>::Event>, Error>>;

async fn run<T: Subscription>(mut subscription: T, sender: Sender<T>) {
    let mut backoff = Backoff::up_to(subscription.backoff_max());
    let mut hope_ends = Instant::now() + subscription.patience_at_first();
    loop {
        let (error, stood) = match subscription.open().await {
            Ok(stream) => {
                backoff.reset();
                (read(&mut subscription, stream, &sender).await, true)
            }
            Err(error) => (error, false),
        };
        subscription.lost();
        if stood {
            hope_ends = Instant::now() + subscription.patience();
        }
        let last = !error.may_pass() || Instant::now() >= hope_ends;
        // A failed attempt to return is no news; the loss and the end are.
        if last || stood {
            let told = if last { Err(error) } else { Ok(Incoming::Lost(error)) };
            if sender.send(told).await.is_err() || last {
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next()) => {}
            () = sender.closed() => return,
        }
    }
}

/// Passes the stream's events on until it breaks.
async fn read<T: Subscription>(subscription: &mut T, mut stream: Stream, sender: &Sender<T>) -> Error {
    loop {
        let event = tokio::select! {
            event = stream.next() => event,
            () = sender.closed() => return Error::NotSubscribed,
        };
        let event = match event {
            Ok(event) => event,
            Err(error) => return error,
        };
        if let Some(incoming) = subscription.sort(&mut stream, event)
            && sender.send(Ok(incoming)).await.is_err()
        {
            return Error::NotSubscribed;
        }
    }
}

/// A POST of one message of the v1 API.
pub(crate) fn post<M: V1>(name: &str, path: &str, encoding: Encoding, message: &M) -> Call {
    let media_type = HeaderValue::from_static(encoding.media_type());
    Call {
        name: name.to_owned(),
        method: Method::POST,
        path: path.to_owned(),
        headers: vec![
            (header::CONTENT_TYPE.as_str(), media_type.clone()),
            (header::ACCEPT.as_str(), media_type),
        ],
        body: encoding.encode(message),
    }
}

/// The events of one subscription.
#[derive(Debug)]
pub(crate) struct Stream {
    address: Address,
    encoding: Encoding,
    body: Body,
    decoder: Decoder,
    /// The longest time without a byte before the peer counts as gone, if it promised to keep talking.
    pub(crate) silence_max: Option<Duration>,
}

impl Stream {
    /// Sends the call and gives the stream that answers it, and the answer's headers.
    pub(crate) async fn open(
        connection: &mut Connection,
        call: &Call,
        encoding: Encoding,
    ) -> Result<(Self, http::HeaderMap), Error> {
        let (head, body) = Response::into_parts(connection.send(call).await?);
        let address = connection.address().clone();
        Ok((Self { address, encoding, body, decoder: Decoder::default(), silence_max: None }, head.headers))
    }

    /// The next event. Dropping the future loses nothing: bytes are kept as they come.
    pub(crate) async fn next<M: V1>(&mut self) -> Result<M, Error> {
        loop {
            let record = self.decoder.next_record().map_err(|error| self.nonsense(error.to_string()))?;
            if let Some(record) = record {
                return self.encoding.decode(record).map_err(|why| self.nonsense(why));
            }
            let frame = match self.silence_max {
                None => self.body.frame().await,
                Some(silence) => timeout(silence, self.body.frame())
                    .await
                    .map_err(|_| Error::Silent { address: self.address.clone(), silence })?,
            };
            let Some(frame) = frame else {
                return Err(Error::StreamEnded { address: self.address.clone() });
            };
            let frame = frame.map_err(|source| Error::Broken {
                address: self.address.clone(),
                request: "the event stream".to_owned(),
                source,
            })?;
            if let Some(data) = frame.data_ref() {
                self.decoder.push(data);
            }
        }
    }

    fn nonsense(&self, why: String) -> Error {
        Error::Nonsense { address: self.address.clone(), request: "the event stream".to_owned(), why }
    }
}
