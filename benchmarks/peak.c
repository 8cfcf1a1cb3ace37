// The most multiply-adds a second that this CPU does in f32: register-only FMAs on all cores, no memory.
// Built and run by benchmarks/infer.py: cc -O2 -march=native -pthread. Prints Gop/s (a multiply-add is two operations).
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#if defined(__AVX512F__)
#define LANES 16
#define REG(s) "+v"(s)
#elif defined(__AVX__)
#define LANES 8
#define REG(s) "+x"(s)
#else
#define LANES 4
#define REG(s) "+m"(s)
#endif
typedef float vec __attribute__((vector_size(4 * LANES)));
#define CHAINS 12  // independent sums: two FMA units times a latency of four to five cycles, and some to spare
#define ROUNDS 30000000L

static void *work(void *out) {
    vec a, b;
    for (int i = 0; i < LANES; i++) a[i] = 0.999f, b[i] = 0.001f;
    vec s0 = a, s1 = a, s2 = a, s3 = a, s4 = a, s5 = a, s6 = a, s7 = a, s8 = a, s9 = a, s10 = a, s11 = a;
    for (long n = 0; n < ROUNDS; n++) {
        s0 = s0 * a + b, s1 = s1 * a + b, s2 = s2 * a + b, s3 = s3 * a + b, s4 = s4 * a + b, s5 = s5 * a + b;
        s6 = s6 * a + b, s7 = s7 * a + b, s8 = s8 * a + b, s9 = s9 * a + b, s10 = s10 * a + b, s11 = s11 * a + b;
        // Nothing may be computed ahead of time or moved out of the loop.
        __asm__ volatile("" : REG(s0), REG(s1), REG(s2), REG(s3), REG(s4), REG(s5),
                              REG(s6), REG(s7), REG(s8), REG(s9), REG(s10), REG(s11));
    }
    vec sum = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11;
    *(float *)out = sum[0];
    return NULL;
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    pthread_t ids[256];
    float out[256];
    struct timespec t0, t1;
    if (threads < 1 || threads > 256) return 2;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    for (int i = 0; i < threads; i++) pthread_create(&ids[i], NULL, work, &out[i]);
    for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    double seconds = (t1.tv_sec - t0.tv_sec) + 1e-9 * (t1.tv_nsec - t0.tv_nsec);
    printf("%.1f\n", 2.0 * LANES * CHAINS * ROUNDS * threads / seconds / 1e9);
    return out[0] == 42;
}
