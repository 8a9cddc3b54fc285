//! Links `src/allocator.c` into the binary, whole: nothing calls it, it runs before `main`.

fn main() {
    println!("cargo::rerun-if-changed=src/allocator.c");
    cc::Build::new()
        .file("src/allocator.c")
        .link_lib_modifier("+whole-archive")
        .compile("allocator");
}
