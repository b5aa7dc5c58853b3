// A guest in one sector, for accelerators that only run small guests. It goes to 32-bit protected mode without paging
// and then increments the first byte of every page of a range, for ever, one round after the other. While it is
// stopped, all those bytes are therefore equal, but for one step: at the page that it was at. The byte behind it is 1,
// so that no page is all zeros, and costs nothing to move, in each 256th round.
//
// It writes to the serial port: 'A' once before the first round, then a letter per round, 'b' to 'y' and again.
// The last words of the sector can be changed in the finished image:
//   offset 492  1: to rest after each round until the timer ticks, a hundred times a second (0: not to)
//   offset 496  first address, little endian (1 MiB)
//   offset 500  address after the last (64 MiB)

.equ SERIAL, 0x3f8
.equ PAGE, 4096
.equ TICK, 11932                  // of 1.193182 MHz

.code16
.globl _start
_start:
  cli
  ljmp $0, $1f                    // some firmware enters at 07c0:0000
1:
  xorw %ax, %ax
  movw %ax, %ds
  inb $0x92, %al                  // A20: without it every odd mebibyte is its even neighbour
  orb $2, %al
  andb $0xfe, %al                 // bit 0 would reset the machine
  outb %al, $0x92
  lgdtl gdt_descriptor
  movl %cr0, %eax
  orb $1, %al
  movl %eax, %cr0
  ljmpl $8, $protected

.code32
protected:
  movw $16, %ax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  movl $0x7c00, %esp
  lidtl idt_descriptor
  movb $0xfe, %al                 // of all interrupts only the timer's
  outb %al, $0x21
  movb $0x34, %al                 // the timer's rate
  outb %al, $0x43
  movb $TICK & 0xff, %al
  outb %al, $0x40
  movb $TICK >> 8, %al
  outb %al, $0x40
  movw $SERIAL, %dx
  movb $'A', %al
  outb %al, %dx
  movb $'b', %bl
round:
  movl range_start, %esi
page:
  incb (%esi)
  movb $1, 1(%esi)
  addl $PAGE, %esi
  cmpl range_end, %esi
  jb page
  cmpl $0, rests
  je done
  sti                             // takes effect behind the next instruction: no tick is lost between the two
  hlt
  cli
done:
  movb %bl, %al
  outb %al, %dx
  incb %bl
  cmpb $'z', %bl
  jne round
  movb $'b', %bl
  jmp round

tick:
  pushl %eax
  movb $0x20, %al                 // the interrupt controller may send the next one
  outb %al, $0x20
  popl %eax
  iretl

.balign 8
gdt:
  .quad 0
  .quad 0x00cf9a000000ffff        // code: base 0, 4 GiB, 32 bit
  .quad 0x00cf92000000ffff        // data: the same
gdt_descriptor:
  .word gdt_descriptor - gdt - 1
  .long gdt
// The timer's vector is 8, as firmware leaves it; nobody comes by those below.
idt_entry_8:
  .word tick, 8, 0x8e00, 0        // an interrupt gate into the code segment
idt_descriptor:
  .word 9 * 8 - 1
  .long idt_entry_8 - 8 * 8

.org 492
rests:
  .long 0
range_start:
  .long 1 << 20
range_end:
  .long 64 << 20
.org 510
  .word 0xaa55
