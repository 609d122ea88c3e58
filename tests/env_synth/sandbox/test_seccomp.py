"""The filter is run here by a small interpreter of classic BPF, for both architectures, and its table asked of libseccomp."""

import ctypes
import ctypes.util
import struct

import pytest

from env_synth.sandbox import seccomp
from env_synth.sandbox.seccomp import ALLOWED, ALLOWED_WITHOUT_EXEC, ARCHITECTURES, KILLED, build_filter

REFUSE = seccomp.RET_ERRNO | seccomp.EPERM
MACHINES = list(ARCHITECTURES)


def verdict(program: bytes, architecture: int, number: int, prot: int = 0) -> int:
    """What the kernel would do with a call: an interpreter of the five instructions that are used."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, 0, 0, prot, 0, 0, 0)
    instructions = list(struct.iter_unpack("=HBBI", program))
    accumulator, position = 0, 0
    while True:
        code, yes, no, value = instructions[position]
        position += 1
        if code == seccomp.LOAD:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == seccomp.RETURN:
            return value
        else:
            test = {
                seccomp.JUMP_EQUAL: accumulator == value,
                seccomp.JUMP_AT_LEAST: accumulator >= value,
                seccomp.JUMP_SET: bool(accumulator & value),
            }[code]
            position += yes if test else no


@pytest.mark.parametrize("machine", MACHINES)
def test_each_call_gets_the_verdict_of_its_table_and_all_others_are_refused(machine):
    program, column, architecture = build_filter(machine), MACHINES.index(machine), ARCHITECTURES[machine]
    assert len(program) // 8 < 4096
    allowed = {numbers[column] for numbers in ALLOWED.values()} - {-1}
    killed = {numbers[column] for numbers in KILLED.values()} - {-1}
    guarded = {numbers[column] for numbers in ALLOWED_WITHOUT_EXEC.values()}
    for number in range(600):
        expected = seccomp.RET_ALLOW if number in allowed | guarded else REFUSE
        assert verdict(program, architecture, number) == (seccomp.RET_KILL if number in killed else expected), number
    for number in guarded:
        assert verdict(program, architecture, number, prot=3) == seccomp.RET_ALLOW
        assert all(verdict(program, architecture, number, prot) == REFUSE for prot in (4, 5, 6, 7))
    assert not allowed & killed


@pytest.mark.parametrize("machine", MACHINES)
def test_a_foreign_architecture_is_killed(machine):
    for architecture in (0x40000003, 0x40000028, 0, ARCHITECTURES[MACHINES[1 - MACHINES.index(machine)]]):
        assert verdict(build_filter(machine), architecture, 0) == seccomp.RET_KILL


def test_x32_numbers_are_killed():
    assert verdict(build_filter("x86_64"), ARCHITECTURES["x86_64"], 0x40000000 | 39) == seccomp.RET_KILL


def test_a_machine_without_a_table_is_an_error():
    with pytest.raises(KeyError, match="riscv64"):
        build_filter("riscv64")


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_those_of_libseccomp(machine):
    name = ctypes.util.find_library("seccomp")
    if name is None:
        pytest.skip("libseccomp is not installed")
    resolve = ctypes.CDLL(name).seccomp_syscall_resolve_name_arch
    for table in (ALLOWED, ALLOWED_WITHOUT_EXEC, KILLED):
        for call, numbers in table.items():
            found = resolve(ctypes.c_uint32(ARCHITECTURES[machine]), call.encode())
            assert max(found, -1) == numbers[MACHINES.index(machine)], call
