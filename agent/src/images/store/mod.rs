//! The images that the agent has: one folder, and one thread that decides by `core` what is pulled, kept and deleted. Pulls
//! and deletions have threads of their own, for as long as they last.

pub mod core;
pub mod disk;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use tokio::sync::oneshot;

use self::core::{Core, Effect, Found, Input, Settings, Ticket};
use self::disk::{Disk, Image};
use super::digest::Digest;
use super::pull;
use super::reference::Reference;
use crate::containerizer::service::message;

/// The way to the store. Its thread ends with this.
#[derive(Debug)]
pub struct Store {
    requests: mpsc::Sender<Request>,
    figures: Arc<Figures>,
}

/// Written by the store's thread, read for metrics: nothing hangs on when.
#[derive(Debug, Default)]
pub struct Figures {
    pub images: AtomicU64,
    /// About what all layers take.
    pub bytes: AtomicU64,
    pub pulls_succeeded: AtomicU64,
    pub pulls_failed: AtomicU64,
    /// Roots of containers that could not be deleted.
    pub remove_errors: AtomicU64,
}

/// An image, for one container until that is released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Folders of its layers, the lowest first.
    pub layers: Vec<PathBuf>,
    /// The image's own configuration.
    pub document: Arc<str>,
}

#[derive(Debug)]
enum Request {
    Want {
        reference: Reference,
        container: String,
        is_cached: bool,
        reply: oneshot::Sender<Answer>,
    },
    /// Of a pull: what is missing is the answer.
    Resolved {
        reference: Reference,
        layers: Vec<Digest>,
        reply: mpsc::Sender<Vec<Digest>>,
    },
    Pulled {
        image: Image,
    },
    Failed {
        reference: Reference,
        why: Arc<str>,
    },
    Measure,
    Tell(Input),
    /// Answered when everything before it was done.
    Flush {
        reply: oneshot::Sender<()>,
    },
    /// Pulls that go on have nobody to tell.
    End,
}

type Answer = Result<Given, Arc<str>>;

/// Where things are.
#[derive(Clone, Debug)]
pub struct Places {
    /// `--docker-registry`
    pub registry: PathBuf,
    /// `--docker-store-dir`
    pub store: PathBuf,
}

impl Store {
    /// `containers`: those that may still run, with their layers.
    pub fn start(
        places: Places,
        settings: Settings,
        containers: Vec<(String, Vec<Digest>)>,
    ) -> io::Result<Self> {
        let disk = Disk::open(&places.store)?;
        disk.clear();
        let (images, layers) = disk.load()?;
        let found = Found {
            images: images.iter().map(|image| (image.reference.clone(), image.layers.clone())).collect(),
            layers,
            containers,
        };
        let documents = images.into_iter().map(|image| (image.reference, image.document.into())).collect();
        let mut effects = Vec::new();
        let core = Core::new(settings, found, &mut effects);
        let (requests, queue) = mpsc::channel();
        let figures = Arc::new(Figures::default());
        let mut keeper = Keeper {
            registry: places.registry,
            disk,
            core,
            documents,
            wants: BTreeMap::new(),
            resolved: BTreeMap::new(),
            next_ticket: 0,
            requests: requests.clone(),
            figures: figures.clone(),
        };
        keeper.carry_out_all(effects);
        std::thread::Builder::new().name("images".to_owned()).spawn(move || keeper.keep(queue))?;
        Ok(Self { requests, figures })
    }

    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Pulls the image if it is not there, or `is_cached` is false, and holds its layers for the container.
    ///
    /// # Errors
    /// Why it cannot be had, for people.
    pub async fn want(&self, reference: Reference, container: &str, is_cached: bool) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Want { reference, container: container.to_owned(), is_cached, reply });
        answer.await.unwrap_or_else(|_| Err("the store of images has ended".into()))
    }

    /// The container is over.
    pub fn release(&self, container: &str) {
        self.ask(Request::Tell(Input::Release { container: container.to_owned() }));
    }

    /// Deletes all that nobody uses, but for those; if none are named, for those that the operator excludes.
    pub async fn prune(&self, excluded: BTreeSet<Reference>) {
        self.ask(Request::Tell(Input::Prune { excluded }));
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Flush { reply });
        let _ = answer.await;
    }

    /// Has a look at how full the disk is.
    pub fn measure(&self) {
        self.ask(Request::Measure);
    }

    fn ask(&self, request: Request) {
        // The thread ends only when nobody can ask, or by a panic, of which the answers that do not come tell.
        let _ = self.requests.send(request);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.ask(Request::End);
    }
}

/// What the thread has.
struct Keeper {
    registry: PathBuf,
    disk: Disk,
    core: Core,
    documents: BTreeMap<Reference, Arc<str>>,
    wants: BTreeMap<Ticket, (String, oneshot::Sender<Answer>)>,
    resolved: BTreeMap<Reference, mpsc::Sender<Vec<Digest>>>,
    next_ticket: u64,
    /// For pulls.
    requests: mpsc::Sender<Request>,
    figures: Arc<Figures>,
}

impl Keeper {
    fn keep(mut self, queue: mpsc::Receiver<Request>) {
        for request in queue {
            match request {
                Request::End => return,
                request => self.take(request),
            }
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Want { reference, container, is_cached, reply } => {
                let ticket = Ticket(self.next_ticket);
                self.next_ticket += 1;
                self.wants.insert(ticket, (container.clone(), reply));
                self.feed(Input::Want { ticket, reference, container, is_cached });
            }
            Request::Resolved { reference, layers, reply } => {
                self.resolved.insert(reference.clone(), reply);
                self.feed(Input::Resolved { reference, layers });
            }
            Request::Pulled { image } => {
                let Image { reference, document, .. } = image;
                self.documents.insert(reference.clone(), document.into());
                self.figures.pulls_succeeded.fetch_add(1, Ordering::Relaxed);
                self.feed(Input::Pulled { reference });
            }
            Request::Failed { reference, why } => {
                self.figures.pulls_failed.fetch_add(1, Ordering::Relaxed);
                self.feed(Input::Failed { reference, why });
            }
            Request::Measure => match crate::collector::measure(self.disk.folder()) {
                Some(disk) => self.feed(Input::Disk { total: disk.total, used: disk.used }),
                None => tracing::warn!("images are not deleted for want of room"),
            },
            Request::Tell(input) => self.feed(input),
            Request::Flush { reply } => _ = reply.send(()),
            Request::End => {}
        }
    }

    fn feed(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.core.handle(input, &mut effects);
        self.carry_out_all(effects);
    }

    fn carry_out_all(&mut self, effects: Vec<Effect>) {
        let mut retired = Vec::new();
        for effect in effects {
            match effect {
                Effect::Pull { reference } => self.pull(reference),
                Effect::Unpack { reference, missing } => {
                    let reply = self.resolved.remove(&reference).expect("each question is answered once");
                    // A pull that is gone has failed, and says so.
                    let _ = reply.send(missing);
                }
                Effect::Give { ticket, reference } => self.give(ticket, &reference),
                Effect::Refuse { ticket, why } => {
                    let (_, reply) = self.wants.remove(&ticket).expect("each question is answered once");
                    let _ = reply.send(Err(why));
                }
                Effect::DeleteImage { reference } => {
                    tracing::info!(%reference, "image is deleted");
                    self.documents.remove(&reference);
                    self.disk.delete_image(&reference);
                }
                Effect::DeleteLayer { layer } => retired.extend(self.disk.retire_layer(&layer)),
            }
        }
        self.figures.images.store(self.core.images_count() as u64, Ordering::Relaxed);
        self.figures.bytes.store(self.core.bytes(), Ordering::Relaxed);
        if !retired.is_empty() {
            let delete = move || retired.iter().for_each(|folder| disk::remove(folder));
            // Without a thread they stay until the next agent starts.
            let _ = std::thread::Builder::new().name("image-delete".to_owned()).spawn(delete);
        }
    }

    fn give(&mut self, ticket: Ticket, reference: &Reference) {
        let (container, reply) = self.wants.remove(&ticket).expect("each question is answered once");
        self.disk.touch(reference);
        let layers = self.core.layers(reference).expect("it was just given");
        let layers = layers.iter().map(|layer| self.disk.layer(layer)).collect();
        let document = self.documents.get(reference).expect("every image has its document").clone();
        if reply.send(Ok(Given { layers, document })).is_err() {
            // Who asked is gone.
            self.feed(Input::Release { container });
        }
    }

    fn pull(&self, reference: Reference) {
        let (registry, disk) = (self.registry.clone(), self.disk.clone());
        let (requests, name) = (self.requests.clone(), reference.clone());
        let work = move || {
            let pulled = std::panic::catch_unwind(|| work(&registry, &disk, &name, &requests));
            let pulled = pulled.unwrap_or_else(|_| Err("the image made its reader fail".into()));
            _ = requests.send(match pulled {
                Ok(image) => Request::Pulled { image },
                Err(why) => Request::Failed { reference: name, why },
            });
        };
        let thread = std::thread::Builder::new().name("image-pull".to_owned());
        if let Err(error) = thread.spawn(work) {
            let why = format!("start a thread: {error}").into();
            let _ = self.requests.send(Request::Failed { reference, why });
        }
    }
}

/// One pull, from the registry's folder to an image that is written down.
fn work(
    registry: &Path,
    disk: &Disk,
    reference: &Reference,
    requests: &mpsc::Sender<Request>,
) -> Result<Image, Arc<str>> {
    let told = |error: &dyn std::error::Error| Arc::<str>::from(message(error));
    let kept = |source: io::Error| Arc::<str>::from(format!("write to the store of images: {source}"));
    let found = pull::find(registry, reference).map_err(|error| told(&error))?;
    let document = String::from_utf8(found.document.clone()).map_err(|error| told(&error))?;
    let image = Image { reference: reference.clone(), layers: found.layers(), document };
    let (reply, missing) = mpsc::channel();
    let _ = requests.send(Request::Resolved { reference: reference.clone(), layers: found.layers(), reply });
    let missing = missing.recv().map_err(|error| told(&error))?;
    tracing::info!(%reference, layers = image.layers.len(), missing = missing.len(), "pulling image");
    for layer in missing {
        let staged = disk.stage().map_err(kept)?;
        match found.unpack(&layer, &staged.join("fs")) {
            Ok(bytes) => {
                disk.keep_layer(&staged, &layer, bytes).map_err(kept)?;
                let _ = requests.send(Request::Tell(Input::Unpacked { layer, bytes }));
            }
            Err(error) => {
                disk::remove(&staged);
                return Err(told(&error));
            }
        }
    }
    disk.keep_image(&image).map_err(kept)?;
    Ok(image)
}
