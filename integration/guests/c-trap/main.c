// Flags: -g -O0
// Traps at a known line of a named function, three calls below main; built with line tables (-g) and without
// optimisation, for tests of what a trap's message says of its place.
//
// Without an argument it divides by zero in `quotient`; with "u" it is the line of __builtin_trap in `give_up`;
// with "m" it reads beyond its memory in `peek`.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((noinline)) static int quotient(int dividend, int divisor) {
    return dividend / divisor; // Line 13: an integer divide by zero.
}

__attribute__((noinline)) static int give_up(void) {
    __builtin_trap(); // Line 17: unreachable.
}

__attribute__((noinline)) static int peek(unsigned address) {
    return *(volatile int *)address; // Line 21: out of bounds.
}

__attribute__((noinline)) static int choose(const char *how) {
    if (strcmp(how, "u") == 0) {
        return give_up();
    }
    if (strcmp(how, "m") == 0) {
        return peek(0xfffffff0u);
    }
    return quotient(1, atoi(how));
}

int main(int argc, char **argv) {
    puts("about to trap");
    fflush(stdout);
    printf("%d\n", choose(argc > 1 ? argv[1] : "0"));
    return 0;
}
