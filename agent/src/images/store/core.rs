//! Which images and layers are kept, who uses them, and which go: decides; the thread in `store` does.
//!
//! ```text
//!   Want -> known:     Give
//!        -> unknown:   Pull -- Resolved --> Unpack (what is missing) -- Pulled --> Give, to all who wait
//!                                                                   -- Failed --> Refuse, to all
//!   Release, Prune, Disk -> DeleteImage, DeleteLayer
//! ```
//! A layer stays as long as an image has it, a container runs on it or a pull counts on it: what lies under a mounted root
//! must not change. Images go whole, the longest unused first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::images::digest::Digest;
use crate::images::reference::Reference;

/// Names a question until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A container wants to run on an image. Answered by *Give* or *Refuse*.
    Want {
        ticket: Ticket,
        reference: Reference,
        container: String,
        /// What is kept is good enough (Mesos: `Image.cached`).
        is_cached: bool,
    },
    /// A pull has found out what the image is made of. Answered by *Unpack*.
    Resolved {
        reference: Reference,
        layers: Vec<Digest>,
    },
    /// A layer is in the store.
    Unpacked {
        layer: Digest,
        bytes: u64,
    },
    /// All of them are, and the image is written down.
    Pulled {
        reference: Reference,
    },
    Failed {
        reference: Reference,
        why: Arc<str>,
    },
    /// The container is over.
    Release {
        container: String,
    },
    /// All that nobody uses is to go, but for those.
    Prune {
        excluded: BTreeSet<Reference>,
    },
    /// The file system of the store, bytes.
    Disk {
        total: u64,
        used: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Pull {
        reference: Reference,
    },
    Unpack {
        reference: Reference,
        missing: Vec<Digest>,
    },
    /// The image is the container's until it is released.
    Give {
        ticket: Ticket,
        reference: Reference,
    },
    Refuse {
        ticket: Ticket,
        why: Arc<str>,
    },
    DeleteImage {
        reference: Reference,
    },
    DeleteLayer {
        layer: Digest,
    },
}

#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What all layers together may come to while not all are used, bytes.
    pub bytes_max: Option<u64>,
    /// Part of the disk that is to stay free, millionths; `None`: images do not go because it fills.
    pub headroom_ppm: Option<u64>,
    /// Never deleted, but by a call that names others.
    pub excluded: BTreeSet<Reference>,
}

/// What the store holds when the agent starts.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// With their layers, the lowest first; the longest unused image first.
    pub images: Vec<(Reference, Vec<Digest>)>,
    /// With what they take, bytes.
    pub layers: BTreeMap<Digest, u64>,
    /// Containers that may still run, with their layers.
    pub containers: Vec<(String, Vec<Digest>)>,
}

/// Pulls that go on at the same time; others wait. Each has a thread, and unpacks one layer at a time.
const PULLS_MAX: usize = 2;

#[derive(Debug)]
struct Image {
    layers: Vec<Digest>,
    /// Of all that was used, the how manyth.
    used: u64,
}

#[derive(Debug, Default)]
struct Pull {
    is_going_on: bool,
    waiting: Vec<(Ticket, String)>,
    layers: Vec<Digest>,
}

#[derive(Debug)]
pub struct Core {
    settings: Settings,
    images: BTreeMap<Reference, Image>,
    layers: BTreeMap<Digest, u64>,
    containers: BTreeMap<String, Vec<Digest>>,
    pulls: BTreeMap<Reference, Pull>,
    /// Those that have to wait, in their order.
    queue: Vec<Reference>,
    uses: u64,
}

impl Core {
    /// Layers of an interrupted pull, which nothing refers to, are deleted.
    pub fn new(settings: Settings, found: Found, effects: &mut Vec<Effect>) -> Self {
        let Found { images, layers, containers } = found;
        let mut core = Self {
            settings,
            images: BTreeMap::new(),
            layers,
            containers: containers.into_iter().collect(),
            pulls: BTreeMap::new(),
            queue: Vec::new(),
            uses: 0,
        };
        for (reference, layers) in images {
            let used = core.next_use();
            core.images.insert(reference, Image { layers, used });
        }
        let all: Vec<Digest> = core.layers.keys().cloned().collect();
        core.drop_unneeded(&all, effects);
        core.shrink(effects);
        core
    }

    /// What all layers take.
    pub fn bytes(&self) -> u64 {
        self.layers.values().sum()
    }

    pub fn images_count(&self) -> usize {
        self.images.len()
    }

    pub fn layers(&self, reference: &Reference) -> Option<&[Digest]> {
        self.images.get(reference).map(|image| &*image.layers)
    }

    pub fn handle(&mut self, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Want { ticket, reference, container, is_cached } => {
                self.want(ticket, reference, container, is_cached, effects);
            }
            Input::Resolved { reference, layers } => {
                let missing = layers.iter().filter(|it| !self.layers.contains_key(it));
                // An image may have the same layer twice; it is unpacked once.
                let missing: BTreeSet<Digest> = missing.cloned().collect();
                self.pulls.get_mut(&reference).expect("it is being pulled").layers = layers;
                effects.push(Effect::Unpack { reference, missing: missing.into_iter().collect() });
            }
            Input::Unpacked { layer, bytes } => _ = self.layers.insert(layer, bytes),
            Input::Pulled { reference } => self.pulled(reference, effects),
            Input::Failed { reference, why } => self.failed(&reference, &why, effects),
            Input::Release { container } => {
                let layers = self.containers.remove(&container).unwrap_or_default();
                self.drop_unneeded(&layers, effects);
                self.shrink(effects);
            }
            Input::Prune { excluded } => {
                let excluded = if excluded.is_empty() { self.settings.excluded.clone() } else { excluded };
                self.free(u64::MAX, &excluded, effects);
            }
            Input::Disk { total, used } => self.disk(total, used, effects),
        }
    }

    fn want(
        &mut self,
        ticket: Ticket,
        reference: Reference,
        container: String,
        is_cached: bool,
        effects: &mut Vec<Effect>,
    ) {
        let is_known = is_cached && self.images.contains_key(&reference);
        if is_known && !self.pulls.contains_key(&reference) {
            return self.give(ticket, &reference, container, effects);
        }
        let is_new = !self.pulls.contains_key(&reference);
        if is_new {
            self.queue.push(reference.clone());
        }
        self.pulls.entry(reference).or_default().waiting.push((ticket, container));
        self.begin(effects);
    }

    /// As many of those that wait as may.
    fn begin(&mut self, effects: &mut Vec<Effect>) {
        let going_on = self.pulls.values().filter(|pull| pull.is_going_on).count();
        let free = PULLS_MAX.saturating_sub(going_on).min(self.queue.len());
        for reference in self.queue.drain(..free) {
            self.pulls.get_mut(&reference).expect("what is queued is to be pulled").is_going_on = true;
            effects.push(Effect::Pull { reference });
        }
    }

    fn give(&mut self, ticket: Ticket, reference: &Reference, container: String, effects: &mut Vec<Effect>) {
        let used = self.next_use();
        let image = self.images.get_mut(reference).expect("callers have just seen it");
        image.used = used;
        self.containers.insert(container, image.layers.clone());
        effects.push(Effect::Give { ticket, reference: reference.clone() });
    }

    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    fn pulled(&mut self, reference: Reference, effects: &mut Vec<Effect>) {
        let Pull { waiting, layers, .. } = self.pulls.remove(&reference).expect("it is being pulled");
        let used = self.next_use();
        // What an image of that name had before goes, unless somebody runs on it.
        let before = self.images.insert(reference.clone(), Image { layers, used });
        for (ticket, container) in waiting {
            self.give(ticket, &reference, container, effects);
        }
        self.drop_unneeded(&before.map(|image| image.layers).unwrap_or_default(), effects);
        self.shrink(effects);
        self.begin(effects);
    }

    fn failed(&mut self, reference: &Reference, why: &Arc<str>, effects: &mut Vec<Effect>) {
        let Pull { waiting, layers, .. } = self.pulls.remove(reference).expect("it is being pulled");
        let refuse = |(ticket, _)| Effect::Refuse { ticket, why: why.clone() };
        effects.extend(waiting.into_iter().map(refuse));
        self.drop_unneeded(&layers, effects);
        self.begin(effects);
    }

    fn disk(&mut self, total: u64, used: u64, effects: &mut Vec<Effect>) {
        let Some(headroom_ppm) = self.settings.headroom_ppm else { return };
        let headroom = u128::from(total) * u128::from(headroom_ppm) / 1_000_000;
        let may_be_used = total - u64::try_from(headroom).unwrap_or(total).min(total);
        let excluded = self.settings.excluded.clone();
        self.free(used.saturating_sub(may_be_used), &excluded, effects);
    }

    fn shrink(&mut self, effects: &mut Vec<Effect>) {
        let too_much = self.settings.bytes_max.map_or(0, |max| self.bytes().saturating_sub(max));
        let excluded = self.settings.excluded.clone();
        self.free(too_much, &excluded, effects);
    }

    /// Deletes images that nobody uses until so many bytes are free, if there are so many to be had.
    fn free(&mut self, bytes: u64, excluded: &BTreeSet<Reference>, effects: &mut Vec<Effect>) {
        let is_used = |image: &Image| self.containers.values().any(|layers| *layers == image.layers);
        let may_go = self.images.iter().filter(|(reference, image)| {
            !excluded.contains(reference) && !self.pulls.contains_key(reference) && !is_used(image)
        });
        let mut may_go: Vec<(u64, Reference)> = may_go.map(|(it, image)| (image.used, it.clone())).collect();
        may_go.sort_unstable();
        let enough = self.bytes().saturating_sub(bytes);
        for (_, reference) in may_go {
            if self.bytes() <= enough && bytes != u64::MAX {
                return;
            }
            let image = self.images.remove(&reference).expect("it was just seen");
            effects.push(Effect::DeleteImage { reference });
            self.drop_unneeded(&image.layers, effects);
        }
    }

    /// Of those layers the ones that nothing has any more.
    fn drop_unneeded(&mut self, layers: &[Digest], effects: &mut Vec<Effect>) {
        let images = self.images.values().flat_map(|image| &image.layers);
        let pulls = self.pulls.values().flat_map(|pull| &pull.layers);
        let needed: BTreeSet<&Digest> =
            images.chain(pulls).chain(self.containers.values().flatten()).collect();
        let unneeded: BTreeSet<&Digest> = layers.iter().filter(|layer| !needed.contains(layer)).collect();
        for layer in unneeded {
            if self.layers.remove(layer).is_some() {
                effects.push(Effect::DeleteLayer { layer: layer.clone() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        core: Core,
        ticket: u64,
    }

    fn layer(number: u64) -> Digest {
        Digest::of_hex(&format!("{number:064x}")).expect("64 digits")
    }

    fn name(name: &str) -> Reference {
        Reference::parse(name).expect("a name")
    }

    impl World {
        fn new(settings: Settings) -> Self {
            Self { core: Core::new(settings, Found::default(), &mut Vec::new()), ticket: 0 }
        }

        fn feed(&mut self, input: Input) -> Vec<Effect> {
            let mut effects = Vec::new();
            self.core.handle(input, &mut effects);
            let core = &self.core;
            for layer in core.containers.values().chain(core.images.values().map(|it| &it.layers)).flatten() {
                assert!(core.layers.contains_key(layer), "{layer} is needed and gone");
            }
            effects
        }

        fn want(&mut self, image: &str, container: &str, is_cached: bool) -> Vec<Effect> {
            self.ticket += 1;
            let (ticket, container) = (Ticket(self.ticket), container.to_owned());
            self.feed(Input::Want { ticket, reference: name(image), container, is_cached })
        }

        fn pull(&mut self, image: &str, layers: &[u64]) -> Vec<Effect> {
            let layers: Vec<Digest> = layers.iter().map(|it| layer(*it)).collect();
            let effects = self.feed(Input::Resolved { reference: name(image), layers });
            let [Effect::Unpack { missing, .. }] = &effects[..] else { panic!("{effects:?}") };
            for layer in missing.clone() {
                assert_eq!(self.feed(Input::Unpacked { layer, bytes: 10 }), []);
            }
            self.feed(Input::Pulled { reference: name(image) })
        }

        /// Pulled, and not used any more.
        fn keep(&mut self, image: &str, layers: &[u64]) -> Vec<Effect> {
            assert!(matches!(self.want(image, "c", true)[..], [Effect::Pull { .. }]));
            let mut effects = self.pull(image, layers);
            effects.extend(self.feed(Input::Release { container: "c".to_owned() }));
            effects.retain(|effect| !matches!(effect, Effect::Give { .. }));
            effects
        }
    }

    fn gone(image: &str) -> Effect {
        Effect::DeleteImage { reference: name(image) }
    }

    fn layers_gone(layers: &[u64]) -> Vec<Effect> {
        layers.iter().map(|it| Effect::DeleteLayer { layer: layer(*it) }).collect()
    }

    #[test]
    fn many_who_want_the_same_wait_for_one_pull() {
        let mut world = World::new(Settings::default());
        assert_eq!(world.want("a", "c1", true), [Effect::Pull { reference: name("a") }]);
        assert_eq!(world.want("a", "c2", true), []);
        assert_eq!(world.want("a", "c3", false), []);
        let given = |ticket| Effect::Give { ticket: Ticket(ticket), reference: name("a") };
        assert_eq!(world.pull("a", &[1, 2, 1]), [given(1), given(2), given(3)]);
        assert_eq!(world.want("a", "c4", true), [given(4)]);
        assert_eq!(world.core.bytes(), 20);
    }

    #[test]
    fn only_so_many_pulls_go_on_at_a_time() {
        let mut world = World::new(Settings::default());
        world.want("a", "c1", true);
        world.want("b", "c2", true);
        assert_eq!(world.want("d", "c3", true), []);
        let effects = world.feed(Input::Failed { reference: name("b"), why: "it is not there".into() });
        let refused = Effect::Refuse { ticket: Ticket(2), why: "it is not there".into() };
        assert_eq!(effects, [refused, Effect::Pull { reference: name("d") }]);
    }

    #[test]
    fn a_layer_that_is_there_is_not_unpacked_again_and_of_a_failed_pull_nothing_stays() {
        let mut world = World::new(Settings::default());
        world.keep("a", &[1, 2]);
        world.want("b", "c", true);
        let layers = vec![layer(1), layer(3), layer(4)];
        let effects = world.feed(Input::Resolved { reference: name("b"), layers });
        let missing = vec![layer(3), layer(4)];
        assert_eq!(effects, [Effect::Unpack { reference: name("b"), missing }]);
        world.feed(Input::Unpacked { layer: layer(3), bytes: 1 });
        let effects = world.feed(Input::Failed { reference: name("b"), why: "".into() });
        assert_eq!(effects[1..], layers_gone(&[3]));
    }

    #[test]
    fn what_a_pull_counts_on_is_not_deleted_under_it() {
        let mut world = World::new(Settings::default());
        world.keep("a", &[1]);
        world.want("b", "c", true);
        world.feed(Input::Resolved { reference: name("b"), layers: vec![layer(1)] });
        let excluded = BTreeSet::new();
        assert_eq!(world.feed(Input::Prune { excluded }), [gone("a")]);
        assert!(matches!(world.feed(Input::Pulled { reference: name("b") })[..], [Effect::Give { .. }]));
    }

    #[test]
    fn the_longest_unused_goes_when_there_is_too_much_and_shared_layers_stay() {
        let mut world = World::new(Settings { bytes_max: Some(40), ..Settings::default() });
        world.keep("a", &[1, 2]);
        world.keep("b", &[1, 3]);
        world.want("a", "c", true);
        world.feed(Input::Release { container: "c".to_owned() });
        let expect = [vec![gone("b")], layers_gone(&[3])].concat();
        assert_eq!(world.keep("d", &[4, 5]), expect);
        assert_eq!(world.core.bytes(), 40);
    }

    #[test]
    fn what_somebody_runs_on_stays_and_goes_when_he_is_gone() {
        let mut world = World::new(Settings { bytes_max: Some(0), ..Settings::default() });
        world.want("a", "c1", true);
        world.pull("a", &[1]);
        assert_eq!(world.feed(Input::Prune { excluded: BTreeSet::new() }), []);
        let expect = [vec![gone("a")], layers_gone(&[1])].concat();
        assert_eq!(world.feed(Input::Release { container: "c1".to_owned() }), expect);
    }

    #[test]
    fn an_image_that_is_wanted_anew_takes_the_place_of_the_old_one() {
        let mut world = World::new(Settings::default());
        world.want("a", "c1", true);
        world.pull("a", &[1, 2]);
        assert_eq!(world.want("a", "c2", false), [Effect::Pull { reference: name("a") }]);
        assert!(matches!(world.pull("a", &[1, 3])[..], [Effect::Give { .. }]));
        // The old one's container still ran on it.
        let released = world.feed(Input::Release { container: "c1".to_owned() });
        assert_eq!(released, layers_gone(&[2]));
    }

    #[test]
    fn a_prune_spares_what_it_is_told_to_or_else_what_the_operator_wrote_down() {
        let excluded = BTreeSet::from([name("a")]);
        let mut world = World::new(Settings { excluded, ..Settings::default() });
        world.keep("a", &[1]);
        world.keep("b", &[2]);
        let all = [vec![gone("b")], layers_gone(&[2])].concat();
        assert_eq!(world.feed(Input::Prune { excluded: BTreeSet::new() }), all);
        world.keep("b", &[2]);
        let but_b = [vec![gone("a")], layers_gone(&[1])].concat();
        assert_eq!(world.feed(Input::Prune { excluded: BTreeSet::from([name("b")]) }), but_b);
    }

    #[test]
    fn a_full_disk_takes_as_many_images_as_make_room() {
        let mut world = World::new(Settings { headroom_ppm: Some(100_000), ..Settings::default() });
        for (image, layer) in [("a", 1), ("b", 2), ("d", 3)] {
            world.keep(image, &[layer]);
        }
        assert_eq!(world.feed(Input::Disk { total: 1000, used: 900 }), []);
        let expect = [vec![gone("a")], layers_gone(&[1]), vec![gone("b")], layers_gone(&[2])].concat();
        assert_eq!(world.feed(Input::Disk { total: 1000, used: 911 }), expect);
    }

    #[test]
    fn what_was_found_is_known_and_what_belongs_to_nothing_is_deleted() {
        let found = Found {
            images: vec![(name("a"), vec![layer(1)])],
            layers: [1, 2, 3].map(|it| (layer(it), 10)).into(),
            containers: vec![("c".to_owned(), vec![layer(2)])],
        };
        let mut effects = Vec::new();
        let core = Core::new(Settings::default(), found, &mut effects);
        assert_eq!(effects, layers_gone(&[3]));
        let mut world = World { core, ticket: 0 };
        assert!(matches!(world.want("a", "c2", true)[..], [Effect::Give { .. }]));
        assert_eq!(world.feed(Input::Release { container: "c".to_owned() }), layers_gone(&[2]));
    }
}
