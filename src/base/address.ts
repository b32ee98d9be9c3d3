/** The three kinds of address, kept apart by the compiler. */

declare const kind: unique symbol;

/** Page frame number: physical address >> page shift. Below 2^52. */
export type Pfn = number & { readonly [kind]?: 'pfn' };
/** Physical address in bytes. Below 2^53. */
export type Paddr = number & { readonly [kind]?: 'paddr' };
/** Virtual address of the dumped kernel, 64 bits, unsigned. */
export type Vaddr = bigint & { readonly [kind]?: 'vaddr' };
