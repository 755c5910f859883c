//! Whole frames against recorded ones in `tests/golden/top`. A frame that is meant to change is recorded anew by deleting
//! its file: a missing one is written, and the test fails that once.

use std::path::Path;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::draw::{Glyphs, draw};
use super::fixture::Scene;
use super::input::{Effect, Input, Key};

fn frame(scene: &Scene, glyphs: Glyphs) -> String {
    let (width, height) = (scene.state.width, scene.state.height);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("in memory");
    terminal
        .draw(|frame| drop(Box::new(draw(&scene.state, scene.now, glyphs, frame.buffer_mut()))))
        .expect("in memory");
    let buffer = terminal.backend().buffer();
    let line =
        |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned() + "\n";
    (0..height).map(line).collect()
}

#[track_caller]
fn check(name: &str, scene: &Scene) {
    check_with(name, scene, Glyphs::UNICODE);
}

#[track_caller]
fn check_with(name: &str, scene: &Scene, glyphs: Glyphs) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/top/{name}.txt"));
    let drawn = frame(scene, glyphs);
    match std::fs::read_to_string(&path) {
        Ok(recorded) => assert_eq!(drawn, recorded, "{name}:\n{drawn}"),
        Err(_) => {
            std::fs::write(&path, &drawn).expect("the folder is there");
            panic!("{name} was not recorded; it is now:\n{drawn}");
        }
    }
}

/// With the second task opened, and two looks at it.
fn opened(width: u16, height: u16) -> Scene {
    let mut scene = Scene::running(width, height);
    scene.key(Key::Down);
    let effects = scene.key(Key::Enter);
    let Some(Effect::Watch(Some(watch))) = effects.last() else { panic!("{effects:?}") };
    scene.told(watch, 10);
    scene.told(watch, 12);
    scene
}

#[test]
fn lists_at_80_by_24() {
    let mut scene = Scene::running(80, 24);
    check("tasks-80x24", &scene);
    check_with("tasks-80x24-ascii", &scene, Glyphs::ASCII);
    scene.keys("2");
    check("frameworks-80x24", &scene);
    scene.keys("1");
    check("nodes-80x24", &scene);
}

#[test]
fn lists_at_140_by_40() {
    let mut scene = Scene::running(140, 40);
    scene.keys("a");
    check("tasks-140x40", &scene);
    scene.keys("2");
    check("frameworks-140x40", &scene);
    scene.keys("1");
    check("nodes-140x40", &scene);
}

#[test]
fn a_task_looked_at_closely() {
    check("detail-80x24", &opened(80, 24));
    let mut scene = opened(140, 40);
    check("detail-140x40", &scene);
    scene.keys("td");
    check("detail-140x40-recent-rtt", &scene);
}

#[test]
fn help_is_readable_at_80_by_24() {
    let mut scene = Scene::running(80, 24);
    scene.keys("?");
    check("help-80x24", &scene);
    scene.key(Key::End);
    check("help-80x24-end", &scene);
}

#[test]
fn before_the_first_answer_and_after_the_last() {
    let mut scene = Scene::new(80, 24);
    scene.handle(Input::Unreadable("cannot connect to 127.0.0.1:5050: Connection refused".to_owned()));
    check("waiting-80x24", &scene);
    let mut scene = Scene::running(80, 24);
    scene.handle(Input::Unreadable("cannot connect to 127.0.0.1:5050: Connection refused".to_owned()));
    scene.now = Duration::from_secs(12 + 75);
    check("stale-80x24", &scene);
    scene.key(Key::Char('/'));
    scene.keys("nothing such");
    check("filter-80x24", &scene);
}

/// No size makes it panic, or write where it should not.
#[test]
fn any_size_can_be_drawn() {
    for (width, height) in
        (0..20).flat_map(|w| (0..16).map(move |h| (w, h))).chain([(500, 3), (3, 200), (41, 9)])
    {
        for letters in ["", "1", "?", "2r"] {
            let mut scene = opened(width, height);
            frame(&scene, Glyphs::UNICODE);
            scene.key(Key::Escape);
            scene.keys(letters);
            frame(&scene, Glyphs::ASCII);
        }
    }
}
