// Flags: -Os -s
// What a C program sees of its surroundings: arguments, environment, current directory, clock, random numbers, files.
//
// Prints a line for each; with arguments "copy FROM TO" copies a file, with "exit N" ends with that status.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int copy(const char *from, const char *to) {
    FILE *in = fopen(from, "rb");
    if (in == NULL) {
        fprintf(stderr, "%s: %s\n", from, strerror(errno));
        return 1;
    }
    FILE *out = fopen(to, "wb");
    if (out == NULL) {
        fprintf(stderr, "%s: %s\n", to, strerror(errno));
        fclose(in);
        return 1;
    }
    char buffer[4096];
    size_t length;
    while ((length = fread(buffer, 1, sizeof buffer, in)) > 0) {
        fwrite(buffer, 1, length, out);
    }
    int failed = ferror(in) || ferror(out);
    fclose(in);
    if (fclose(out) != 0 || failed) {
        fprintf(stderr, "%s: %s\n", to, strerror(errno));
        return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "copy") == 0) {
        return copy(argv[2], argv[3]);
    }
    if (argc == 3 && strcmp(argv[1], "exit") == 0) {
        return atoi(argv[2]);
    }
    for (int at = 0; at < argc; at++) {
        printf("arg %s\n", argv[at]);
    }
    for (char **entry = environ; *entry != NULL; entry++) {
        printf("env %s\n", *entry);
    }
    char directory[4096];
    printf("cwd %s\n", getcwd(directory, sizeof directory) != NULL ? directory : strerror(errno));
    printf("clock %s\n", time(NULL) > 1700000000 ? "is set" : "is not set");
    unsigned char one[16], other[16];
    int random = getentropy(one, sizeof one) == 0 && getentropy(other, sizeof other) == 0;
    printf("random %s\n", random && memcmp(one, other, sizeof one) != 0 ? "differs" : "does not differ");
    return 0;
}
